use runtime::Runtime;

use crate::{Instance, instance::InFlight};

/// Chooses by power of two choices: of two ready instances drawn at random, the one with fewer requests in flight.
///
/// The draw also has an order, and the first wins a tie, so that instances without load share evenly. No lock and no
/// allocation: the cost is a look at each ready flag and one random number.
pub(crate) struct Picker {
    instances: Box<[Instance]>,
    runtime: Runtime,
}

impl Picker {
    pub(crate) fn new(instances: Vec<Instance>, runtime: Runtime) -> Self {
        Self { instances: instances.into(), runtime }
    }

    /// The instance for one more request, which counts there from now on. `None` when none is ready.
    pub(crate) fn pick(&self) -> Option<InFlight> {
        let ready = self.ready().count();
        if ready < 2 {
            return self.ready().next().map(Instance::enter);
        }
        let (first, second) = two_of(ready, self.runtime.random_u64());
        // A flag may flip between the count and this look: then there are fewer than counted, and the first one serves.
        let first = self.ready().nth(first).or_else(|| self.ready().next())?;
        let second = self.ready().nth(second).unwrap_or(first);
        Some(if second.in_flight() < first.in_flight() { second.enter() } else { first.enter() })
    }

    fn ready(&self) -> impl Iterator<Item = &Instance> {
        self.instances.iter().filter(|instance| instance.is_ready())
    }
}

/// Two different numbers below `count`, every ordered pair equally likely. `count` is at least 2.
fn two_of(count: usize, random: u64) -> (usize, usize) {
    let first = scale(random >> 32, count);
    let second = scale(random & 0xffff_ffff, count - 1);
    (first, if second < first { second } else { second + 1 })
}

/// Maps 32 random bits to a number below `count` by multiplication, which costs less than a division.
fn scale(bits: u64, count: usize) -> usize {
    usize::try_from((bits * count as u64) >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::two_of;

    #[test]
    fn two_choices_are_never_the_same_and_always_in_range() {
        for count in 2..20_usize {
            for step in 0..10_000_u64 {
                let (first, second) = two_of(count, step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                assert!(first < count && second < count && first != second, "{first} and {second} of {count}");
            }
        }
    }
}
