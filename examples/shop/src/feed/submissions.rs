use std::collections::BTreeMap;

use super::{Class, Error, Reading, Reason, Sale};
use crate::invoice::{Invoice, Line};

/// A feed as the commands it asks for. Each of its lines is in exactly one submission or refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Import {
    /// One for each invoice and class, in the order in which they begin in the feed.
    pub submissions: Vec<Submission>,
    /// In the order of their lines.
    pub refused: Vec<Refused>,
}

/// One command, and where in the feed it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Which aggregate and command it is for.
    pub class: Class,
    /// Id of the aggregate: the invoice.
    pub id: String,
    /// The command's fields.
    pub body: Invoice,
    /// For each line of the body, its line in the feed.
    pub feed_lines: Vec<u64>,
}

/// A line that becomes part of no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its number in the feed.
    pub line: u64,
    /// The invoice that it names, if that can be read.
    pub invoice: Option<String>,
    /// Why.
    pub reason: Reason,
}

/// Groups lines into commands. The lines of an invoice need not be neighbours, so the whole feed is held in memory.
///
/// An invoice whose lines fall into two classes becomes a command for each.
///
/// # Errors
/// Whatever reading the feed fails with.
pub fn submissions(feed: impl IntoIterator<Item = Result<Reading, Error>>) -> Result<Import, Error> {
    let mut grouping = Grouping::default();
    for reading in feed {
        grouping.add(reading?);
    }
    Ok(grouping.import)
}

#[derive(Default)]
struct Grouping {
    import: Import,
    invoices: BTreeMap<String, Progress>,
}

/// How far an invoice has come.
#[derive(Default)]
struct Progress {
    /// Lines that named it, refused ones included: a line keeps its number when another one is put right.
    lines: u32,
    /// Where its submissions are, at most one a class.
    submissions: Vec<usize>,
}

impl Grouping {
    fn add(&mut self, reading: Reading) {
        let Reading { line, invoice, sale } = reading;
        let reason = match (&invoice, sale) {
            (None, Ok(_)) => Reason::InvoiceMissing,
            (None, Err(reason)) => reason,
            (Some(invoice), sale) => {
                let number = self.count(invoice);
                match sale.and_then(|sale| self.place(invoice, number, line, sale)) {
                    Ok(()) => return,
                    Err(reason) => reason,
                }
            }
        };
        self.import.refused.push(Refused { line, invoice, reason });
    }

    /// Number of this line within its invoice.
    fn count(&mut self, invoice: &str) -> u32 {
        // Most lines find their invoice: only the first one pays for a copy of the name.
        if !self.invoices.contains_key(invoice) {
            self.invoices.insert(invoice.to_owned(), Progress::default());
        }
        self.invoices.get_mut(invoice).map_or(0, |progress| {
            progress.lines += 1;
            progress.lines
        })
    }

    fn place(&mut self, invoice: &str, number: u32, feed_line: u64, sale: Sale) -> Result<(), Reason> {
        let Sale { class, stock_code, description, quantity, time, price, customer, country } = sale;
        let line = Line { line: number, stock_code, description, quantity, price, time };
        let Some(submission) = self.submission(invoice, class) else {
            let body = Invoice { customer, country, lines: vec![line] };
            self.begin(Submission { class, id: invoice.to_owned(), body, feed_lines: vec![feed_line] });
            return Ok(());
        };
        // An invoice has one addressee. Its first line says who, since nothing else in the feed does.
        if submission.body.customer != customer {
            return Err(Reason::CustomerDiffers);
        }
        if submission.body.country != country {
            return Err(Reason::CountryDiffers);
        }
        submission.body.lines.push(line);
        submission.feed_lines.push(feed_line);
        Ok(())
    }

    fn submission(&mut self, invoice: &str, class: Class) -> Option<&mut Submission> {
        let candidates = &self.invoices.get(invoice)?.submissions;
        let index = candidates.iter().copied().find(|index| self.import.submissions[*index].class == class)?;
        self.import.submissions.get_mut(index)
    }

    fn begin(&mut self, submission: Submission) {
        let index = self.import.submissions.len();
        self.invoices.entry(submission.id.clone()).or_default().submissions.push(index);
        self.import.submissions.push(submission);
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Cursor, path::Path};

    use super::{Import, submissions};
    use crate::feed::{COLUMNS, Feed};

    fn import(lines: &[&str]) -> Import {
        let text = COLUMNS.join(",") + "\n" + &lines.join("\n");
        let feed = Feed::from_reader(Path::new("feed.csv"), Cursor::new(text.into_bytes())).expect("a feed");
        submissions(feed).expect("memory can be read")
    }

    /// Aggregate and id of each submission, with the lines as (in the invoice, in the feed).
    fn commands(import: &Import) -> Vec<String> {
        let command = |submission: &super::Submission| {
            let lines = submission.body.lines.iter().map(|line| line.line).zip(&submission.feed_lines);
            format!("{}/{} {:?}", submission.class.aggregate(), submission.id, lines.collect::<Vec<_>>())
        };
        import.submissions.iter().map(command).collect()
    }

    fn refusals(import: &Import) -> Vec<(u64, &'static str)> {
        import.refused.iter().map(|refused| (refused.line, refused.reason.code())).collect()
    }

    #[test]
    fn lines_of_an_invoice_meet_again_when_others_stand_between() {
        let import = import(&[
            "1,a,,1,2009-12-01 07:45:00,1,7,EIRE",
            "2,a,,1,2009-12-01 07:45:00,1,8,EIRE",
            "1,b,,1,2009-12-01 07:46:00,1,7,EIRE",
        ]);
        assert_eq!(commands(&import), ["order/1 [(1, 2), (2, 4)]", "order/2 [(1, 3)]"]);
    }

    #[test]
    fn an_invoice_in_two_classes_becomes_a_command_for_each_and_its_lines_keep_their_numbers() {
        let import = import(&[
            "1,a,,1,2009-12-01 07:45:00,1,7,EIRE",
            "1,b,,-1,2009-12-01 07:45:00,1,7,EIRE",
            "1,c,,x,2009-12-01 07:45:00,1,7,EIRE",
            "1,d,,1,2009-12-01 07:45:00,1,7,EIRE",
        ]);
        assert_eq!(commands(&import), ["order/1 [(1, 2), (4, 5)]", "adjustment/1 [(2, 3)]"]);
        assert_eq!(refusals(&import), [(4, "quantity-invalid")]);
    }

    #[test]
    fn a_line_that_contradicts_the_addressee_of_its_invoice_is_refused() {
        let import = import(&[
            "1,a,,1,2009-12-01 07:45:00,1,7,EIRE",
            "1,b,,1,2009-12-01 07:45:00,1,8,EIRE",
            "1,c,,1,2009-12-01 07:45:00,1,,EIRE",
            "1,d,,1,2009-12-01 07:45:00,1,7,France",
        ]);
        assert_eq!(commands(&import), ["order/1 [(1, 2)]"]);
        assert_eq!(refusals(&import), [(3, "customer-differs"), (4, "customer-differs"), (5, "country-differs")]);
    }

    #[test]
    fn a_credit_note_loses_only_its_positive_lines() {
        let import = import(&[
            "C1,a,,1,2009-12-01 07:45:00,1,7,EIRE",
            "C1,b,,-1,2009-12-01 07:45:00,1,7,EIRE",
            "C2,b,,1,2009-12-01 07:45:00,1,7,EIRE",
        ]);
        assert_eq!(commands(&import), ["credit_note/C1 [(2, 3)]"]);
        assert_eq!(refusals(&import), [(2, "credit-note-positive-quantity"), (4, "credit-note-positive-quantity")]);
    }

    #[test]
    fn a_body_reads_as_the_commands_json() {
        let import = import(&["1,a ,BALL ,2,2009-12-01 07:45:00,6.95,,EIRE"]);
        let expected = serde_json::json!({"customer": null, "country": "EIRE", "lines": [
            {"line": 1, "stock_code": "a", "description": "BALL ", "quantity": 2, "price": "6.950", "time": "2009-12-01T07:45:00"},
        ]});
        assert_eq!(serde_json::to_value(&import.submissions[0].body).expect("JSON"), expected);
    }
}
