//! A CSV file with a line of names: its rows, each with the number of its line.

use std::{fs, path::Path};

use anyhow::{Context as _, bail};

/// The rows of a file that could be read.
#[derive(Debug)]
pub(super) struct Sheet<const N: usize> {
    /// The line, and the cells of the columns that were asked for.
    pub(super) rows: Vec<(u64, [String; N])>,
    /// Lines that could not be read, each with the reason.
    pub(super) bad: Vec<(u64, String)>,
}

impl<const N: usize> Sheet<N> {
    /// Reads the columns of these names; those from the `needed`-th on may be missing, and are then empty in every row. A mark of the
    /// byte order and semicolons instead of commas, as spreadsheets write them, are taken for what they are.
    pub(super) fn read(path: &Path, columns: [&str; N], needed: usize) -> anyhow::Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&bytes, &path.display().to_string(), columns, needed)
    }

    pub(super) fn parse(bytes: &[u8], name: &str, columns: [&str; N], needed: usize) -> anyhow::Result<Self> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let first_line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let delimiter = if first_line.contains(&b';') && !first_line.contains(&b',') { b';' } else { b',' };
        let mut reader = csv::ReaderBuilder::new().flexible(true).delimiter(delimiter).from_reader(bytes);
        let header = reader.headers().with_context(|| format!("reading the first line of {name}"))?.clone();
        if let Some(unknown) = header.iter().map(str::trim).find(|column| !columns.contains(column)) {
            bail!("{name} has a column {unknown:?}, which means nothing here; its first line may name {}", columns.join(","));
        }
        let mut places = [None; N];
        for (at, (place, column)) in places.iter_mut().zip(columns).enumerate() {
            *place = header.iter().position(|found| found.trim() == column);
            if place.is_none() && at < needed {
                bail!("{name} has no column {column}; its first line must name {}", columns[..needed].join(","));
            }
        }
        let mut sheet = Self { rows: Vec::new(), bad: Vec::new() };
        let mut record = csv::StringRecord::new();
        loop {
            let before = reader.position().line();
            match reader.read_record(&mut record) {
                Ok(false) => return Ok(sheet),
                Ok(true) => {
                    let line = record.position().map_or(before, |at| line_of(bytes, at));
                    if record.len() == header.len() {
                        let cell = |place: Option<usize>| place.map(|place| record[place].trim().to_owned()).unwrap_or_default();
                        sheet.rows.push((line, places.map(cell)));
                    } else {
                        sheet.bad.push((line, format!("{} cells instead of {}", record.len(), header.len())));
                    }
                }
                Err(error) if error.is_io_error() => return Err(error).with_context(|| format!("reading {name}")),
                Err(error) => {
                    let line = error.position().map_or(before, |at| line_of(bytes, at));
                    sheet.bad.push((line, "not CSV in UTF-8".into()));
                }
            }
        }
    }
}

/// The line on which a row begins. Where lines end with two characters, the reader stands between them before it counts.
fn line_of(bytes: &[u8], at: &csv::Position) -> u64 {
    let within = usize::try_from(at.byte()).ok().and_then(|at| bytes.get(at)) == Some(&b'\n');
    at.line() + u64::from(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> anyhow::Result<Sheet<3>> {
        Sheet::parse(text, "a file", ["number", "amount", "reason"], 2)
    }

    #[test]
    fn what_spreadsheets_write_is_read() {
        for text in [
            &b"number,amount,reason\n00123,5,\"moved, late\"\n"[..],
            b"\xef\xbb\xbfnumber;amount;reason\r\n00123;5;\"moved, late\"\r\n",
            b"reason,amount,number\n\"moved, late\", 5 ,00123\n",
        ] {
            let sheet = read(text).unwrap();
            assert_eq!(sheet.rows, [(2, ["00123", "5", "moved, late"].map(str::to_owned))], "{text:?}");
            assert!(sheet.bad.is_empty());
        }
        assert_eq!(read(b"number,amount\n1,2\n").unwrap().rows[0].1[2], "", "the last column may be missing");
    }

    #[test]
    fn what_can_not_be_read_is_named_by_its_line() {
        let sheet = read(b"number,amount,reason\n1,2\n\"a\nb\",3,c\nx\xff,4,d\n5,6,e\n").unwrap();
        assert_eq!(sheet.rows.iter().map(|(line, cells)| (*line, cells[1].as_str())).collect::<Vec<_>>(), [(3, "3"), (6, "6")]);
        assert_eq!(sheet.bad.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 5]);
        for (text, expected) in [(&b"number,reason\n"[..], "no column amount"), (b"number,amount,colour\n", "\"colour\"")] {
            assert!(read(text).unwrap_err().to_string().contains(expected));
        }
    }
}
