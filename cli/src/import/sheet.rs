//! CSV files whose first line names the columns: their rows, each with the number of its line.

use std::{fs, path::Path};

use anyhow::{Context as _, bail};

/// A file of which some columns are read.
pub(super) struct Table<'f, const N: usize> {
    bytes: &'f [u8],
    name: &'f str,
    reader: csv::Reader<&'f [u8]>,
    header: csv::StringRecord,
    /// Where the columns stand; none of one that the file does not have.
    places: [Option<usize>; N],
}

impl<'f, const N: usize> Table<'f, N> {
    /// The columns of these names; those from the `needed`-th on may be missing, and are then empty in every row.
    pub(super) fn open(bytes: &'f [u8], name: &'f str, delimiter: u8, columns: [&str; N], needed: usize) -> anyhow::Result<Self> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).delimiter(delimiter).from_reader(bytes);
        let header = reader.headers().with_context(|| format!("reading the first line of {name}"))?.clone();
        let places = columns.map(|column| header.iter().position(|found| found.trim() == column));
        if let Some((_, missing)) = places.iter().zip(columns).take(needed).find(|(place, _)| place.is_none()) {
            bail!("{name} has no column {missing}; its first line must name {}", columns[..needed].join(","));
        }
        Ok(Self { bytes, name, reader, header, places })
    }

    /// Calls `row` with the line and the trimmed cells of each row. The lines that it refuses, and those that are no rows, each with the
    /// reason.
    pub(super) fn each(mut self, mut row: impl FnMut(u64, [&str; N]) -> Result<(), String>) -> anyhow::Result<Vec<(u64, String)>> {
        let mut bad = Vec::new();
        let mut record = csv::StringRecord::new();
        loop {
            let before = self.reader.position().clone();
            let read = self.reader.read_record(&mut record);
            let line = line_of(self.bytes, record.position().unwrap_or(&before));
            let refusal = match read {
                Ok(false) => return Ok(bad),
                Ok(true) if record.len() != self.header.len() => Err(format!("{} cells instead of {}", record.len(), self.header.len())),
                Ok(true) => row(line, self.places.map(|place| place.map_or("", |place| record[place].trim()))),
                Err(error) if error.is_io_error() => return Err(error).with_context(|| format!("reading {}", self.name)),
                Err(_) => Err("not CSV in UTF-8".into()),
            };
            bad.extend(refusal.err().map(|reason| (line, reason)));
        }
    }
}

/// The rows of a spreadsheet that could be read.
#[derive(Debug)]
pub(super) struct Sheet<const N: usize> {
    /// The line, and the cells of the columns that were asked for.
    pub(super) rows: Vec<(u64, [String; N])>,
    /// Lines that could not be read, each with the reason.
    pub(super) bad: Vec<(u64, String)>,
}

impl<const N: usize> Sheet<N> {
    /// Reads columns as [`Table::open`] does, and refuses others. A mark of the byte order and semicolons instead of commas, as
    /// spreadsheets write them, are taken for what they are.
    pub(super) fn read(path: &Path, columns: [&str; N], needed: usize) -> anyhow::Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&bytes, &path.display().to_string(), columns, needed)
    }

    pub(super) fn parse(bytes: &[u8], name: &str, columns: [&str; N], needed: usize) -> anyhow::Result<Self> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let first_line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let delimiter = if first_line.contains(&b';') && !first_line.contains(&b',') { b';' } else { b',' };
        let table = Table::open(bytes, name, delimiter, columns, needed)?;
        if let Some(unknown) = table.header.iter().map(str::trim).find(|column| !columns.contains(column)) {
            bail!("{name} has a column {unknown:?}, which means nothing here; its first line may name {}", columns.join(","));
        }
        let mut rows = Vec::new();
        let bad = table.each(|line, cells| {
            rows.push((line, cells.map(str::to_owned)));
            Ok(())
        })?;
        Ok(Self { rows, bad })
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
