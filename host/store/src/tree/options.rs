//! The settings of RocksDB for the tree, each with its reason. It knows no data.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, LogLevel, Options, WriteBufferManager};

/// Sizes of a tree.
#[derive(Clone, Debug)]
pub struct TreeOptions {
    /// Memory for blocks, indexes, filters and not yet flushed writes together. 8 MiB are used at least.
    pub cache_bytes: usize,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self { cache_bytes: 256 << 20 }
    }
}

const CACHE_BYTES_MIN: usize = 8 << 20;
/// The buffer that is written takes this part of the cache, those that are being flushed as much
/// again each.
const WRITE_BUFFER_PART: usize = 8;
/// More would only lengthen the replay after a crash.
const WRITE_BUFFER_BYTES_MAX: usize = 64 << 20;
/// Buffers: one is written, one is flushed, one in reserve before writers must wait.
const WRITE_BUFFERS: i32 = 3;
/// Bits of bloom filter for each key: 1 % of look-ups of absent keys read a block in vain. Most
/// creates look for a node that is not there.
const BLOOM_BITS: f64 = 10.0;
/// Two cores are what a small member has; flush and compaction each get one.
const BACKGROUND_JOBS: i32 = 2;
/// Files held open. At 64 MiB a file this is 32 GiB of tree; more are opened as needed.
const OPEN_FILES_MAX: i32 = 512;
/// RocksDB's own message files: number and bytes of each.
const INFO_LOG_FILES: usize = 4;
const INFO_LOG_BYTES: usize = 1 << 20;
/// Rewritten when larger: bounds what an opening reads.
const MANIFEST_BYTES_MAX: usize = 16 << 20;
/// The disk is told to write while a file is being made, not all at its end, where the log's syncs
/// would wait behind it.
const BYTES_PER_SYNC: u64 = 1 << 20;
/// Queues delete at their head: a file in which so many of so many neighbours are deletions, or this
/// part of all, is compacted soon, so that scans do not step over them for ever.
const DELETION_WINDOW: usize = 1024;
const DELETION_TRIGGER: usize = 512;
const DELETION_RATIO: f64 = 0.5;

impl TreeOptions {
    /// RocksDB's settings.
    pub(super) fn of_database(&self) -> Options {
        let cache_bytes = self.cache_bytes.max(CACHE_BYTES_MIN);
        let write_buffer_bytes = (cache_bytes / WRITE_BUFFER_PART).min(WRITE_BUFFER_BYTES_MAX);
        let cache = Cache::new_lru_cache(cache_bytes);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&blocks(&cache));

        options.set_write_buffer_size(write_buffer_bytes);
        options.set_max_write_buffer_number(WRITE_BUFFERS);
        // Unflushed writes are charged to the cache, so that one number bounds the memory.
        let unflushed_bytes = write_buffer_bytes * 3;
        let manager =
            WriteBufferManager::new_write_buffer_manager_with_cache(unflushed_bytes, false, cache);
        options.set_write_buffer_manager(&manager);
        // One column family needs no atomic flush; set so that a second one could never tear a batch.
        options.set_atomic_flush(true);

        options.set_compression_type(DBCompressionType::Lz4);
        options.add_compact_on_deletion_collector_factory(
            DELETION_WINDOW,
            DELETION_TRIGGER,
            DELETION_RATIO,
        );
        options.set_max_background_jobs(BACKGROUND_JOBS);
        options.set_max_open_files(OPEN_FILES_MAX);
        options.set_bytes_per_sync(BYTES_PER_SYNC);
        options.set_max_manifest_file_size(MANIFEST_BYTES_MAX);
        options.set_paranoid_checks(true);

        options.set_log_level(LogLevel::Warn);
        options.set_keep_log_file_num(INFO_LOG_FILES);
        options.set_max_log_file_size(INFO_LOG_BYTES);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options
    }
}

fn blocks(cache: &Cache) -> BlockBasedOptions {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_bloom_filter(BLOOM_BITS, false);
    // Indexes and filters count for the cache's bound, and leave it last.
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_cache_index_and_filter_blocks_with_high_priority(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks
}
