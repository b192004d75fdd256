//! `quorate bench`: its figures, and that nothing acknowledged is lost or repeated when the server dies under it.

use serde_json::Value;

use crate::harness::{Done, Home, ended, until};

#[test]
fn a_short_run_gives_figures_that_machines_can_read() {
    let home = Home::new();
    let _server = home.dev();
    let names = ["get-16", "set-16x16", "create-64", "counter", "lock-10", "queue", "parked"];
    let told = home.json(&[&["bench", "--seconds", "1"], &names[..]].concat());
    let rows = told["workloads"].as_array().expect("rows");
    assert_eq!(rows.len(), names.len() + 4, "counter stands for five: {told}");
    for row in rows {
        let number = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key}: {row}"));
        assert!(number("operations") > 0.0 && number("per_second") > 0.0, "{row}");
        assert!(0.0 < number("p50_us") && number("p50_us") <= number("p99_us"), "{row}");
        assert!(number("p99_us") <= number("p999_us"), "{row}");
        assert!(number("server_cpu_seconds") > 0.0, "{row}");
    }
    assert!(rows.iter().any(|row| row["server_bytes_each"].is_u64()), "{told}");
    // It has cleaned up behind itself.
    assert_eq!(home.run(&["stat", "/bench"]).code, 1);
    let recipes = home.json(&["recipe", "list"]);
    let recipes = recipes["recipes"].as_array().expect("a list").clone();
    let is_left = |recipe: &Value| {
        recipe["name"].as_str().is_some_and(|name| name.starts_with("bench-"))
            && !recipe["version"].is_null()
    };
    assert!(!recipes.iter().any(is_left), "{recipes:?}");
}

#[test]
fn the_list_has_every_workload_and_an_unknown_one_is_refused() {
    let home = Home::new();
    let told = home.json(&["bench", "--list"]);
    let names: Vec<&str> = told["workloads"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    for verb in ["get", "set", "create"] {
        for load in ["1", "16", "64", "16x16", "64x16"] {
            assert!(names.contains(&&*format!("{verb}-{load}")), "{verb}-{load}: {names:?}");
        }
    }
    for name in
        ["counter-native", "counter-reused", "counter-fresh", "lock-1", "lock-10", "lock-100"]
    {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    assert!(names.contains(&"queue") && names.contains(&"parked"));
    assert_eq!(home.run(&["bench", "nonsense"]).code, 2);
}

#[test]
fn a_bench_goes_on_when_the_server_is_killed_and_nothing_is_lost_or_repeated() {
    let home = Home::new();
    let mut server = home.dev();
    let address = server.address().to_owned();
    let arguments = ["bench", "set-16", "create-16x16", "counter-reused", "queue"];
    let child = home.command(&[&arguments[..], &["--seconds", "4", "--output", "json"]].concat());
    let mut child = { child }.spawn().expect("it runs");
    // Under native writes, and again under calls.
    for place in ["/bench/native/0", "/bench/bench-counter/hits"] {
        until(place, || home.run(&["stat", place, "--connect-timeout", "1s"]).code == 0);
        server.kill();
        server = home.dev_at(&address);
    }
    let code = ended(&mut child);
    let done = Done::of(child.wait_with_output().expect("its output"));
    assert_eq!(code, 0, "{}{}", done.stdout, done.stderr);
    let told: Value = serde_json::from_str(&done.stdout).expect("JSON");
    let rows = told["workloads"].as_array().expect("rows");
    // Each has compared the tree with what was acknowledged; those that saw a restart can not know the CPU.
    let killed = rows.iter().filter(|row| row["server_cpu_seconds"].is_null()).count();
    assert!(rows.len() == arguments.len() - 1 && killed >= 2, "{told}");
    drop(server);
}
