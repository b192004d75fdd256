//! How wasmtime is set up: the least of its features, and what makes runs short, bounded and repeatable (DESIGN D15).

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
};

use crate::limits;

/// The one engine of a process.
///
/// # Errors
/// wasmtime's, where the machine lacks what we ask for.
pub(crate) fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // Calls are 2 to 5 times as fast without it, and its code is the youngest.
        .concurrency_support(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false)
        .cranelift_nan_canonicalization(true)
        .cranelift_opt_level(OptLevel::Speed)
        // One compilation must not take all the cores from those who serve.
        .parallel_compilation(false)
        .epoch_interruption(true)
        .max_wasm_stack(limits::STACK_BYTES_MAX)
        .memory_init_cow(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    Engine::new(&config)
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(limits::INSTANCES_MAX)
        .total_core_instances(limits::INSTANCES_MAX * limits::CORE_INSTANCES_MAX)
        .total_memories(limits::INSTANCES_MAX * limits::MEMORIES_MAX)
        .total_tables(limits::INSTANCES_MAX * limits::TABLES_MAX)
        .max_core_instances_per_component(limits::CORE_INSTANCES_MAX)
        .max_memories_per_component(limits::MEMORIES_MAX)
        .max_tables_per_component(limits::TABLES_MAX)
        .max_memory_size(limits::MEMORY_BYTES_MAX)
        .table_elements(limits::TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(limits::MEMORY_KEEP_RESIDENT_BYTES)
        .table_keep_resident(limits::TABLE_KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);
    pool
}
