//! Holds docs/value-encoding.md and the code against each other, row by row. It does not know the
//! bytes: the document does.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_wire::value::{Function, Limits, Type, decode, encode};

use super::samples;
use super::show::show;

const DOCUMENT: &str = include_str!("../../../../docs/value-encoding.md");

/// Rows of the table behind `<!-- name -->`, cells without their backticks.
fn table(name: &str) -> Vec<Vec<&'static str>> {
    let marker = format!("<!-- {name} -->");
    let (_, behind) = DOCUMENT.split_once(&marker).expect("the document has this table");
    let lines = behind.lines().skip_while(|line| !line.starts_with('|'));
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    let cell = |cell: &'static str| cell.trim().trim_matches('`');
    let row = |row: &'static str| row.trim_matches('|').split('|').map(cell).collect();
    rows.map(row).collect()
}

fn bytes(hex: &str) -> Bytes {
    hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal")).collect()
}

fn types() -> BTreeMap<String, Type> {
    samples::values().into_iter().map(|(kind, _)| (kind.to_string(), kind)).collect()
}

#[test]
fn each_value_of_the_document_has_the_bytes_that_it_shows() {
    let rows = table("values");
    let samples = samples::values();
    assert_eq!(rows.len(), samples.len());
    for (row, (kind, value)) in rows.iter().zip(&samples) {
        assert_eq!(row[0], kind.to_string());
        assert_eq!(row[1], show(value, kind), "{row:?}");
        assert_eq!(bytes(row[2]), encode(value, kind, Limits::VALUE).unwrap(), "{row:?}");
        assert_eq!(*value, decode(bytes(row[2]), kind, Limits::VALUE).unwrap(), "{row:?}");
    }
}

#[test]
fn each_refusal_of_the_document_has_the_message_that_it_shows() {
    let types = types();
    let rows = table("refusals");
    assert!(rows.len() >= 30);
    for row in rows {
        let error = decode(bytes(row[1]), &types[row[0]], Limits::VALUE).unwrap_err();
        assert_eq!(row[2], error.to_string(), "{row:?}");
    }
}

#[test]
fn each_described_type_of_the_document_has_the_bytes_that_it_shows() {
    let types = types();
    let rows = table("types");
    let kinds: Vec<u8> = rows.iter().map(|row| bytes(row[1])[0]).collect();
    assert!((0..=22).all(|kind| kinds.contains(&kind)), "a kind of type is not shown");
    for row in rows {
        let kind = types.get(row[0]).cloned();
        let kind = kind.unwrap_or_else(|| panic!("no sample of {}", row[0]));
        assert_eq!(bytes(row[1]), kind.encode().unwrap(), "{row:?}");
        assert_eq!(kind, Type::decode(bytes(row[1])).unwrap(), "{row:?}");
    }
}

#[test]
fn each_function_of_the_document_has_the_bytes_and_the_hash_that_it_shows() {
    let rows = table("functions");
    let samples = samples::functions();
    assert_eq!(rows.len(), samples.len());
    for (row, function) in rows.iter().zip(&samples) {
        assert_eq!(row[0], function.to_string());
        assert_eq!(bytes(row[1]), function.encode().unwrap(), "{row:?}");
        assert_eq!(*function, Function::decode(bytes(row[1])).unwrap(), "{row:?}");
        assert_eq!(row[2], format!("{:016x}", function.signature_hash()));
    }
}

#[test]
fn limits_of_the_document_are_those_of_the_code() {
    let lines: Vec<&str> = DOCUMENT.lines().filter(|line| line.starts_with("| ")).collect();
    let shown = |start: &str| {
        let line = lines.iter().find(|line| line.starts_with(&format!("| {start} |")));
        let cell = line.and_then(|line| line.split('|').nth(2)).expect("the limit is shown");
        cell.replace(',', "").trim().parse::<u32>().expect("a number")
    };
    assert_eq!(shown("levels of a value or type"), Limits::VALUE.depth);
    assert_eq!(shown("levels of a value or type"), Limits::DESCRIPTION.depth);
    assert_eq!(shown("nodes of a value, or of all arguments of a call"), Limits::VALUE.nodes);
    assert_eq!(shown("nodes of a description"), Limits::DESCRIPTION.nodes);
    assert_eq!(shown("bytes of a name"), quorate_wire::value::NAME_BYTES_MAX);
    let interface_bytes = quorate_wire::value::INTERFACE_NAME_BYTES_MAX;
    assert_eq!(shown("bytes of the name of an interface"), interface_bytes);
}
