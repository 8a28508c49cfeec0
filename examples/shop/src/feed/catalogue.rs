//! The made-up wholesaler's goods and customers.

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};

/// Codes that no product has.
const PSEUDO_PRODUCTS: [&str; 6] = ["POST", "M", "m", "BANK CHARGES", "DOT", "gift_0001_10"];
/// Two of them as the real feed has them, with what CSV must quote.
const TEXTS: [&str; 8] = [
    "RECORD FRAME 7\" SINGLE SIZE ",
    "SET OF 3, COLOURED  FLYING DUCKS",
    " WHITE CHERRY LIGHTS",
    "15CM CHRISTMAS GLASS BALL",
    "DOOR MAT \"WELCOME, FRIEND\"",
    "£5 GIFT VOUCHER",
    "CREAM HEART CARD HOLDER",
    "JUMBO STORAGE BAG SUKI",
];
const COUNTRIES: [&str; 8] =
    ["United Kingdom", "United Kingdom", "United Kingdom", "EIRE", "Germany", "Channel Islands", "Unspecified", "USA"];
/// Whole pounds, one, two and three decimals.
const PRICES: [&str; 10] = ["1", "12", "2.1", "0.5", "6.95", "0.85", "4.25", "1.255", "0.001", "0"];

pub(super) struct Catalogue {
    stock_codes: Vec<String>,
    customers: Vec<(String, &'static str)>,
}

impl Catalogue {
    /// Enough goods and customers that some return, and some are seen once.
    pub(super) fn new(random: &mut StdRng, invoices: u32) -> Catalogue {
        let products = 20 + (invoices / 10).min(4000);
        let product = |number: u32, random: &mut StdRng| {
            let suffix = ["", "", "A", "a", "BL"].choose(random).copied().unwrap_or_default();
            format!("{}{suffix}", 20_000 + number)
        };
        let mut stock_codes: Vec<String> = (0..products).map(|number| product(number, random)).collect();
        stock_codes.extend(PSEUDO_PRODUCTS.map(str::to_owned));
        let customers = (0..5 + invoices / 6).map(|number| (format!("{}", 12_346 + number), pick(random, &COUNTRIES)));
        Catalogue { stock_codes, customers: customers.collect() }
    }

    pub(super) fn stock_code<'a>(&'a self, random: &mut StdRng) -> &'a str {
        // Sellers and shelf warmers: the smaller of two draws comes up more often.
        let index = random.random_range(0..self.stock_codes.len()).min(random.random_range(0..self.stock_codes.len()));
        &self.stock_codes[index]
    }

    /// A customer, absent for one invoice in five as in the real feed, and the country.
    pub(super) fn customer(&self, random: &mut StdRng) -> (String, &'static str) {
        let (customer, country) = self.customers.choose(random).cloned().unwrap_or_default();
        if random.random_ratio(1, 5) { (String::new(), country) } else { (customer, country) }
    }
}

/// A description: sometimes none, sometimes with blanks at an end, and not always the same for a code.
pub(super) fn description(random: &mut StdRng) -> String {
    match random.random_range(0..40) {
        0 => String::new(),
        1 => "  ".to_owned(),
        2..8 => format!("{} ", pick(random, &TEXTS)),
        _ => pick(random, &TEXTS).to_owned(),
    }
}

pub(super) fn price(random: &mut StdRng) -> &'static str {
    pick(random, &PRICES)
}

pub(super) fn pick(random: &mut StdRng, texts: &[&'static str]) -> &'static str {
    texts.choose(random).copied().unwrap_or_default()
}
