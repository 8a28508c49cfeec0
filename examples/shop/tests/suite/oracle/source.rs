use std::{collections::BTreeMap, fs, io::Read, path::Path};

use csv::ByteRecord;
use flate2::read::MultiGzDecoder;
use jiff::civil::DateTime;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Order,
    CreditNote,
    Adjustment,
}

/// A line of the feed that counts.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) line: u64,
    pub(crate) stock_code: String,
    pub(crate) description: String,
    pub(crate) quantity: i64,
    /// `2009-12-01T07:45:00`, so that texts sort as times do.
    pub(crate) time: String,
    /// In thousandths of a pound.
    pub(crate) price: i128,
    /// Empty if there is none.
    pub(crate) customer: String,
    pub(crate) country: String,
}

impl Entry {
    pub(crate) fn amount(&self) -> i128 {
        i128::from(self.quantity) * self.price
    }
}

/// A whole feed.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// Lines after the header.
    pub(crate) line_count: u64,
    /// Invoices by kind and number, each with its lines in the order of the file.
    pub(crate) invoices: BTreeMap<(Kind, String), Vec<Entry>>,
    /// Line numbers of what counts nowhere, with the reason.
    pub(crate) refused: BTreeMap<u64, &'static str>,
}

impl Source {
    pub(crate) fn of(&self, kind: Kind) -> impl Iterator<Item = (&str, &[Entry])> {
        self.invoices
            .iter()
            .filter(move |((found, _), _)| *found == kind)
            .map(|((_, id), lines)| (id.as_str(), lines.as_slice()))
    }
}

pub(crate) fn read(path: &Path) -> Source {
    let bytes = fs::read(path).expect("the feed can be read");
    let mut text = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut text).expect("the feed can be decompressed");
    } else {
        text = bytes;
    }
    let mut source = Source::default();
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    assert_eq!(lines.pop(), Some(b"".as_slice()), "the last line has an end");
    source.line_count = lines.len() as u64 - 1;
    for (line, record) in records(&lines, &mut source.refused) {
        if let Err(reason) = count(line, &record, &mut source.invoices) {
            source.refused.insert(line, reason);
        }
    }
    source
}

/// Sets aside the lines that would confuse a CSV reader, and reads the others in one go.
fn records(lines: &[&[u8]], refused: &mut BTreeMap<u64, &'static str>) -> Vec<(u64, ByteRecord)> {
    let (mut numbers, mut rest) = (Vec::new(), Vec::new());
    for (line, text) in (1_u64..).zip(lines).skip(1) {
        let reason = if text.len() > 4096 {
            "line-too-long"
        } else if text.iter().filter(|byte| **byte == b'"').count() % 2 == 1 {
            "quote-unclosed"
        } else if text.is_empty() {
            "columns"
        } else {
            numbers.push(line);
            rest.extend_from_slice(text);
            rest.push(b'\n');
            continue;
        };
        refused.insert(line, reason);
    }
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(rest.as_slice());
    let records: Vec<ByteRecord> = reader.byte_records().map(|record| record.expect("memory can be read")).collect();
    assert_eq!(records.len(), numbers.len(), "a record is a line");
    numbers.into_iter().zip(records).collect()
}

type Invoices = BTreeMap<(Kind, String), Vec<Entry>>;

fn count(line: u64, record: &ByteRecord, invoices: &mut Invoices) -> Result<(), &'static str> {
    if record.len() != 8 {
        return Err("columns");
    }
    let column = |index: usize| String::from_utf8(record[index].to_vec()).map_err(|_| "encoding");
    let raw = (0..8).map(column).collect::<Result<Vec<_>, _>>()?;
    let trimmed = |index: usize| raw[index].trim().to_owned();
    for (index, reason) in [(0, "invoice-missing"), (1, "stock-code-missing"), (7, "country-missing")] {
        if trimmed(index).is_empty() {
            return Err(reason);
        }
    }
    if [0, 1, 6, 7].iter().any(|index| trimmed(*index).len() > 80) {
        return Err("key-too-long");
    }
    let entry = Entry {
        line,
        stock_code: trimmed(1),
        description: raw[2].clone(),
        quantity: whole_number(&trimmed(3)).ok_or("quantity-invalid")?,
        time: time(&trimmed(4)).ok_or("time-invalid")?,
        price: thousandths(&trimmed(5)).ok_or("price-invalid")?,
        customer: trimmed(6),
        country: trimmed(7),
    };
    let invoice = trimmed(0);
    let kind = kind(&invoice, entry.quantity)?;
    let lines = invoices.entry((kind, invoice)).or_default();
    match lines.first() {
        Some(first) if first.customer != entry.customer => Err("customer-differs"),
        Some(first) if first.country != entry.country => Err("country-differs"),
        _ => {
            lines.push(entry);
            Ok(())
        }
    }
}

fn kind(invoice: &str, quantity: i64) -> Result<Kind, &'static str> {
    if invoice.starts_with('A') {
        return Ok(Kind::Adjustment);
    }
    if invoice.starts_with('C') {
        return if quantity > 0 { Err("credit-note-positive-quantity") } else { Ok(Kind::CreditNote) };
    }
    Ok(if quantity < 0 { Kind::Adjustment } else { Kind::Order })
}

fn whole_number(text: &str) -> Option<i64> {
    text.parse().ok().filter(|number: &i64| number.unsigned_abs() <= 1_000_000_000)
}

fn time(text: &str) -> Option<String> {
    let time = DateTime::strptime("%Y-%m-%d %H:%M:%S", text).ok()?;
    let written = time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    (written.replace('T', " ") == text).then_some(written)
}

/// A price in thousandths: the digits without the point, with noughts for the decimals that are not written.
fn thousandths(text: &str) -> Option<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, decimals) = match digits.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (digits, ""),
    };
    let all = format!("{whole}{decimals:0<3}");
    if whole.is_empty() || decimals.len() > 3 || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    all.parse().ok().filter(|price: &i128| *price <= 1_000_000_000_000).map(|price| sign * price)
}
