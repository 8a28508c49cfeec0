use std::time::{Duration, Instant};

use diptych::model::encode_part;
use http::{HeaderValue, StatusCode};
use tokio::time::sleep;

use super::{
    Error,
    answer::{Outcome, Verdict, judge},
    sending::Sending,
};
use crate::feed::{Class, Submission};

/// How long a read model may take for what was sent. Each request waits for half a minute of it by itself.
const PATIENCE: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(200);

/// Whether all read models show what the answers with these tokens were about; not so only when the import was stopped.
///
/// Nobody but the shop can tell which token is the greatest, so each is asked for; all but the first few are there already.
pub(super) async fn wait(sending: &Sending, tokens: &[HeaderValue]) -> Result<bool, Error> {
    for (read_model, key) in rows(&sending.submissions) {
        let path = format!("/queries/{read_model}/{}", encode_part(&key));
        for token in tokens {
            if !reached(sending, read_model, &path, token).await? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// A row of each read model. Whether there is one does not matter: the answer that there is none waits for the token too.
fn rows(submissions: &[Submission]) -> [(&'static str, String); 5] {
    let mut orders = submissions.iter().filter(|submission| submission.class == Class::Order);
    let order = orders.find(|order| order.body.customer.is_some()).or(submissions.first());
    let line = order.and_then(|order| order.body.lines.first());
    let or_any = |key: Option<String>| key.unwrap_or_else(|| "-".to_owned());
    [
        ("order_summary", or_any(order.map(|order| order.id.clone()))),
        ("product_sales", or_any(line.map(|line| line.stock_code.clone()))),
        ("customer_value", or_any(order.and_then(|order| order.body.customer.clone()))),
        ("country_sales", or_any(order.map(|order| order.body.country.clone()))),
        ("daily_sales", or_any(line.map(|line| line.time.date().to_string()))),
    ]
}

async fn reached(sending: &Sending, read_model: &'static str, path: &str, token: &HeaderValue) -> Result<bool, Error> {
    let started = Instant::now();
    while !sending.is_stopped() {
        let found = match sending.door.query(path, token).await {
            Ok(answer) if answer.status == StatusCode::OK || answer.status == StatusCode::NOT_FOUND => return Ok(true),
            Ok(answer) => match judge(&answer, read_model) {
                Verdict::Again { reason, .. } => reason,
                Verdict::Done(Outcome::Refused(code) | Outcome::Failed(code), detail) => {
                    return Err(Error::Behind { read_model, found: format!("{code}, {detail}") });
                }
                Verdict::Done(..) => return Ok(true),
            },
            Err(lost) if started.elapsed() >= PATIENCE => {
                return Err(Error::Unreachable { url: sending.door.url().to_owned(), waited: PATIENCE, source: lost });
            }
            Err(_) => String::new(),
        };
        if started.elapsed() >= PATIENCE {
            return Err(Error::Behind { read_model, found });
        }
        sleep(PAUSE).await;
    }
    Ok(false)
}
