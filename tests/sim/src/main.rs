//! The command line of the simulator. It knows no more of a run than its seed and its report.

use std::process::ExitCode;
use std::time::Instant;

use quorate_sim::mutant;
use quorate_sim::run::{Options, run};
use quorate_sim::world::Counts;

const USAGE: &str =
    "usage: quorate-sim [--seed N] [--seeds FROM..TO] [--trace] [--mutant NAME[,NAME]] [--busy-ms N]
Runs seeds 1..200 unless told otherwise. Ends with 1 at the first one that fails.";

struct Arguments {
    from: u64,
    to: u64,
    options: Options,
    mutant_name: Option<String>,
}

fn parse() -> Result<Arguments, String> {
    let mut arguments =
        Arguments { from: 1, to: 201, options: Options::default(), mutant_name: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
        match word.as_str() {
            "--seed" => {
                arguments.from = number(&value()?)?;
                arguments.to = arguments.from + 1;
            }
            "--seeds" => {
                let range = value()?;
                let (from, to) = range.split_once("..").ok_or("--seeds wants FROM..TO")?;
                (arguments.from, arguments.to) = (number(from)?, number(to)?);
            }
            "--trace" => arguments.options.is_traced = true,
            "--busy-ms" => arguments.options.busy_ms = number(&value()?)?,
            "--mutant" => {
                let name = value()?;
                arguments.options.mutants = mutant::named(&name).map_err(|name| {
                    let known: Vec<&str> = mutant::ALL.iter().map(|(name, _)| *name).collect();
                    format!("no mutant {name}; there are {}", known.join(", "))
                })?;
                arguments.mutant_name = Some(name);
            }
            "--help" => return Err(USAGE.to_owned()),
            other => return Err(format!("{other} is not known\n{USAGE}")),
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    let mut sums: Vec<(&str, u64)> = Counts::default().named();
    let mut seeds = 0u64;
    for seed in arguments.from..arguments.to {
        let report = run(seed, arguments.options);
        seeds += 1;
        for line in &report.trace {
            println!("{line}");
        }
        for (sum, (_, count)) in sums.iter_mut().zip(report.counts.named()) {
            sum.1 += count;
        }
        if let Some(failure) = report.failure {
            let mutant = arguments.mutant_name.as_ref();
            let mutant = mutant.map_or_else(String::new, |name| format!(" --mutant {name}"));
            eprintln!("seed {seed} fails: {failure}");
            eprintln!(
                "again: cargo run --locked --manifest-path tests/sim/Cargo.toml -- \
                 --seed {seed}{mutant} --trace"
            );
            return ExitCode::from(1);
        }
        if seeds.is_multiple_of(100) {
            let per_second = seeds as f64 / began.elapsed().as_secs_f64();
            eprintln!("{seeds} seeds, {per_second:.1} a second");
        }
    }
    let took = began.elapsed().as_secs_f64();
    eprintln!("{seeds} seeds in {took:.1} s, {:.1} a second; in all:", seeds as f64 / took);
    for (name, sum) in sums {
        eprintln!("{sum:>12} {name}");
    }
    ExitCode::SUCCESS
}
