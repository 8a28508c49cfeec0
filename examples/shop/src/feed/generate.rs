use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use jiff::{Span, ToSpan, civil::DateTime};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng, seq::index};

use super::{
    COLUMNS, Reason,
    catalogue::{Catalogue, description, price},
    rarity::Rarity,
};

/// Most invoices that a made-up feed may have: its civil times must fit a calendar.
pub const INVOICES_MAX: u32 = 10_000_000;

/// Writes a made-up feed: same form and same dirt as the real one, equal bytes for equal arguments.
///
/// Every kind of dirt, every [`Reason`] and an invoice in two classes occur at least once, so there are never fewer
/// invoices than these need, and never more than [`INVOICES_MAX`].
///
/// # Errors
/// Whatever writing fails with.
pub fn generate(seed: u64, invoices: u32, output: &mut impl Write) -> io::Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let rarities = Rarity::all();
    let invoices = invoices.clamp(u32::try_from(rarities.len()).unwrap_or(INVOICES_MAX), INVOICES_MAX);
    let mut places: BTreeMap<u32, Rarity> = index::sample(&mut random, invoices as usize, rarities.len())
        .into_iter()
        .filter_map(|place| u32::try_from(place).ok())
        .zip(rarities)
        .collect();
    let catalogue = Catalogue::new(&mut random, invoices);
    let mut time = DateTime::constant(2009, 12, 1, 7, 45, 0, 0);
    let mut waiting = Waiting::default();

    writeln!(output, "{}", COLUMNS.join(","))?;
    for number in 0..invoices {
        // One in four shares its minute with the one before, and their lines mix.
        let minutes = if random.random_ratio(1, 4) { 0 } else { random.random_range(1..=35) };
        time = time.saturating_add(minutes.minutes());
        waiting.write_before(time, output)?;
        let invoice = Draft::begin(489_434 + number, time, &catalogue, &mut random);
        let lines = match places.remove(&number) {
            Some(rarity) => invoice.rare(rarity),
            None => invoice.ordinary(),
        };
        for (time, line) in lines {
            waiting.add(time, random.next_u64(), line);
        }
    }
    waiting.write_before(DateTime::MAX, output)
}

/// Lines by time, which the feed keeps, and by a random number within a minute, which it does not.
#[derive(Default)]
struct Waiting(BTreeMap<(DateTime, u64), Vec<u8>>);

impl Waiting {
    fn add(&mut self, time: DateTime, mut order: u64, line: Vec<u8>) {
        while self.0.contains_key(&(time, order)) {
            order = order.wrapping_add(1);
        }
        self.0.insert((time, order), line);
    }

    fn write_before(&mut self, time: DateTime, output: &mut impl Write) -> io::Result<()> {
        while let Some(line) = self.0.first_entry().filter(|line| line.key().0 < time) {
            output.write_all(&line.remove())?;
        }
        Ok(())
    }
}

/// A line before it is text.
#[derive(Clone)]
struct Fields {
    invoice: String,
    stock_code: String,
    description: String,
    quantity: String,
    price: String,
    customer: String,
    country: String,
}

/// An invoice in the making.
struct Draft<'a> {
    number: u32,
    time: DateTime,
    customer: String,
    country: &'static str,
    catalogue: &'a Catalogue,
    random: &'a mut StdRng,
    lines: Vec<(DateTime, Vec<u8>)>,
}

impl<'a> Draft<'a> {
    fn begin(number: u32, time: DateTime, catalogue: &'a Catalogue, random: &'a mut StdRng) -> Draft<'a> {
        let (customer, country) = catalogue.customer(random);
        Draft { number, time, customer, country, catalogue, random, lines: Vec::new() }
    }

    /// Of a hundred invoices: 77 orders, 16 credit notes, 7 adjustments, near the shares of the real feed.
    fn ordinary(mut self) -> Vec<(DateTime, Vec<u8>)> {
        match self.random.random_range(0..100) {
            0..77 => self.order(),
            77..93 => self.credit_note(),
            _ => self.adjustment(),
        }
        self.lines
    }

    fn rare(mut self, rarity: Rarity) -> Vec<(DateTime, Vec<u8>)> {
        match rarity {
            Rarity::Refused(Reason::CreditNotePositiveQuantity) => {
                self.credit_note();
                self.line(|line| line.invoice.insert(0, 'C'));
            }
            Rarity::Refused(reason) => {
                self.order();
                self.refused(reason);
            }
            Rarity::CreditNoteRefusedWhole => self.line(|line| line.invoice.insert(0, 'C')),
            Rarity::CreditNote => self.credit_note(),
            Rarity::Adjustment => self.adjustment(),
            Rarity::BadDebt => self.line(|line| {
                line.invoice.insert(0, 'A');
                "-53594.36".clone_into(&mut line.price);
            }),
            Rarity::TwoClasses => {
                self.order();
                self.line(|line| line.quantity.insert(0, '-'));
            }
            Rarity::TwoTimes => self.two_orders_apart(1.minute()),
            Rarity::TwoDays => self.two_orders_apart(1.day()),
            Rarity::Bare | Rarity::OddPrices | Rarity::OddTexts => self.odd(rarity),
        }
        self.lines
    }

    fn order(&mut self) {
        for _ in 0..self.random.random_range(1..40) {
            self.line(|_| {});
        }
    }

    /// Two times in one invoice.
    fn two_orders_apart(&mut self, gap: Span) {
        self.order();
        self.time = self.time.saturating_add(gap);
        self.order();
    }

    fn credit_note(&mut self) {
        for _ in 0..self.random.random_range(1..4) {
            self.line(|line| {
                line.invoice.insert(0, 'C');
                line.quantity.insert(0, '-');
            });
        }
    }

    fn adjustment(&mut self) {
        self.customer.clear();
        self.line(|line| {
            line.quantity.insert(0, '-');
            "0".clone_into(&mut line.price);
        });
    }

    fn odd(&mut self, rarity: Rarity) {
        if rarity == Rarity::Bare {
            self.customer.clear();
        }
        let odd: [(&str, &str, &str); 3] = match rarity {
            Rarity::Bare => [("22041", "", "2.1"), ("22041", "  ", "2.1"), ("POST", "POSTAGE", "18")],
            Rarity::OddPrices => [("22041", "FREE", "0"), ("D", "Discount", "-3.5"), ("22042", "PIN", "0.001")],
            _ => [(" 47503J ", "A \"QUOTED, LONG\" NAME", "1"), ("22041 ", " FRAME 7\" ", "1"), ("22042", "A, B", "1")],
        };
        for (stock_code, description, price) in odd {
            self.line(|line| {
                stock_code.clone_into(&mut line.stock_code);
                description.clone_into(&mut line.description);
                price.clone_into(&mut line.price);
            });
        }
    }

    /// Adds a line of goods, changed as told.
    fn line(&mut self, change: impl FnOnce(&mut Fields)) {
        let mut line = self.fields();
        change(&mut line);
        self.lines.push((self.time, text(&line, &self.written_time())));
    }

    fn fields(&mut self) -> Fields {
        let mut stock_code = self.catalogue.stock_code(self.random).to_owned();
        if self.random.random_ratio(1, 200) {
            stock_code.push(' ');
        }
        Fields {
            invoice: self.number.to_string(),
            stock_code,
            description: description(self.random),
            quantity: self.random.random_range(1..=48).to_string(),
            price: price(self.random).to_owned(),
            customer: self.customer.clone(),
            country: self.country.to_owned(),
        }
    }

    fn written_time(&self) -> String {
        self.time.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// Adds a line that is refused for this reason, if the line alone decides that.
    fn refused(&mut self, reason: Reason) {
        if matches!(reason, Reason::CustomerDiffers | Reason::CountryDiffers) {
            // After the others, whose customer and country then stand.
            self.time = self.time.saturating_add(1.minute());
        }
        let (number, mut line, mut time) = (self.number, self.fields(), self.written_time());
        match reason {
            Reason::InvoiceMissing => line.invoice.clear(),
            Reason::StockCodeMissing => " ".clone_into(&mut line.stock_code),
            Reason::CountryMissing => line.country.clear(),
            Reason::KeyTooLong => line.stock_code = "X".repeat(81),
            Reason::QuantityInvalid => line.quantity.push_str(".5"),
            Reason::TimeInvalid => "31/12/2009 07:45".clone_into(&mut time),
            Reason::PriceInvalid => "6.9501".clone_into(&mut line.price),
            Reason::CustomerDiffers => line.customer.push('9'),
            Reason::CountryDiffers => "Atlantis".clone_into(&mut line.country),
            Reason::LineTooLong => line.description = "VERY ".repeat(1000),
            Reason::CreditNotePositiveQuantity | Reason::Columns | Reason::QuoteUnclosed | Reason::Encoding => {}
        }
        let mut bytes = text(&line, &time);
        match reason {
            Reason::Columns => bytes = format!("{number},85048,15CM CHRISTMAS GLASS BALL,12\n").into(),
            Reason::QuoteUnclosed => bytes = format!("{number},85048,\"FRAME 7,12,{time},1,,EIRE\n").into(),
            // A pound sign as a program writes it that knows no UTF-8.
            Reason::Encoding => {
                bytes = [format!("{number},85048,").as_bytes(), b"\xA35 VOUCHER,12,", time.as_bytes(), b",1,,EIRE\n"]
                    .concat();
            }
            _ => {}
        }
        self.lines.push((self.time, bytes));
    }
}

/// The line as CSV.
fn text(line: &Fields, time: &str) -> Vec<u8> {
    let fields = [
        &line.invoice,
        &line.stock_code,
        &line.description,
        &line.quantity,
        time,
        &line.price,
        &line.customer,
        &line.country,
    ];
    let quoted = |field: &str| {
        if field.contains(['"', ',']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.to_owned() }
    };
    (fields.map(quoted).join(",") + "\n").into_bytes()
}
