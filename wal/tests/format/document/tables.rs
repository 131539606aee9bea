//! Reads the tables of `docs/format.md`, so that tests of every package can compare them with the code.
//!
//! A section starts with a `## ` heading. A table belongs to the last `### ` heading above it. Byte tables
//! have the columns `offset | bytes | field | meaning`, tables of constants `name | value | meaning`. Other
//! tables are not compared.

use std::path::Path;

/// Name, offset and length of a field, as the compiler lays it out.
pub type Field = (&'static str, usize, usize);

/// The fields of a structure, in order.
#[allow(unused_macros, reason = "the log has its own list of fields, which is part of the crate")]
macro_rules! fields {
    ($type:ty: $($field:ident)*) => {
        vec![$((stringify!($field), std::mem::offset_of!($type, $field), {
            fn width<T, F>(_: fn(&T) -> &F) -> usize {
                size_of::<F>()
            }
            width(|s: &$type| &s.$field)
        })),*]
    };
}
#[allow(unused_imports, reason = "as above")]
pub(crate) use fields;

struct Table {
    section: String,
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

fn cells(line: &str) -> Vec<String> {
    line.trim().trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()
}

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/format.md");
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn tables(section: &str) -> Vec<Table> {
    let (mut here, mut title) = (String::new(), String::new());
    let mut found: Vec<Table> = Vec::new();
    let mut inside = false;
    for line in document().lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            title = heading.trim().to_owned();
        } else if let Some(heading) = line.strip_prefix("## ") {
            (here, title) = (heading.trim().to_owned(), String::new());
        }
        let row = line.starts_with('|');
        match found.last_mut().filter(|_| inside && row) {
            Some(table) if line.contains("---") => assert!(table.rows.is_empty(), "{line}"),
            Some(table) => table.rows.push(cells(line)),
            None if row => found.push(Table {
                section: here.clone(),
                title: title.clone(),
                columns: cells(line),
                rows: Vec::new(),
            }),
            None => {}
        }
        inside = row;
    }
    found.retain(|table| table.section == section);
    assert!(!found.is_empty(), "docs/format.md has no section {section:?} with tables");
    found
}

/// Asserts that the byte tables of `section` are those of `structures`: each once, with the same fields in
/// the same order.
pub fn check_structures(section: &str, structures: &[(&str, Vec<Field>)]) {
    let tables = tables(section);
    let byte_tables: Vec<&Table> =
        tables.iter().filter(|t| t.columns == ["offset", "bytes", "field", "meaning"]).collect();
    let titles: Vec<&str> = byte_tables.iter().map(|t| t.title.as_str()).collect();
    let known: Vec<&str> = structures.iter().map(|s| s.0).collect();
    assert_eq!(titles, known, "structures of {section:?}: those in the document, those in the code");
    for (table, (structure, fields)) in byte_tables.iter().zip(structures) {
        let documented: Vec<(String, usize, usize)> = table
            .rows
            .iter()
            .map(|row| {
                let number = |at: usize| row[at].parse().unwrap_or_else(|_| panic!("{structure}: {row:?}"));
                assert!(row.len() == 4 && !row[3].is_empty(), "{structure}: {row:?}");
                (row[2].clone(), number(0), number(1))
            })
            .collect();
        let code: Vec<_> = fields.iter().map(|f| (f.0.to_owned(), f.1, f.2)).collect();
        assert_eq!(documented, code, "{structure}");
        let mut end = 0;
        for (name, offset, bytes) in code {
            assert_eq!(offset, end, "{structure}: a gap before {name}");
            end = offset + bytes;
        }
    }
}

/// Asserts that the tables of constants in `section` list `constants` by name and value, in this order.
pub fn check_constants(section: &str, constants: &[(&str, String)]) {
    let tables = tables(section);
    let documented: Vec<(String, String)> = tables
        .iter()
        .filter(|t| t.columns == ["name", "value", "meaning"])
        .flat_map(|t| &t.rows)
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let code: Vec<_> = constants.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    assert_eq!(documented, code, "constants of {section:?}: those in the document, those in the code");
}
