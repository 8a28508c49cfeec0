use model::{ConsistencyToken, Epoch, EpochId, Lineage, Position, Verdict};
use uuid::Uuid;

fn epoch(id: u128, first: u64) -> Epoch {
    Epoch { id: EpochId(Uuid::from_u128(id)), first: position(first) }
}

fn position(number: u64) -> Position {
    Position::new(number).expect("positions begin at 1")
}

fn judge(lineage: &Lineage, epoch: u128, at: u64) -> Verdict {
    lineage.judge(&ConsistencyToken { epoch: EpochId(Uuid::from_u128(epoch)), position: position(at) })
}

#[test]
fn a_token_of_the_present_epoch_is_a_position_to_reach() {
    assert_eq!(judge(&Lineage(vec![epoch(1, 1)]), 1, 1_000), Verdict::Reach(position(1_000)));
}

#[test]
fn a_token_of_an_earlier_epoch_holds_up_to_the_fork() {
    let lineage = Lineage(vec![epoch(1, 1), epoch(2, 100)]);
    assert_eq!(judge(&lineage, 1, 99), Verdict::Reach(position(99)));
    assert_eq!(judge(&lineage, 1, 100), Verdict::BeyondFork);
    assert_eq!(judge(&lineage, 2, 100), Verdict::Reach(position(100)));
}

#[test]
fn a_second_restore_may_go_back_further_than_the_first() {
    let lineage = Lineage(vec![epoch(1, 1), epoch(2, 100), epoch(3, 50)]);
    assert_eq!(judge(&lineage, 1, 49), Verdict::Reach(position(49)));
    assert_eq!(judge(&lineage, 1, 70), Verdict::BeyondFork);
    assert_eq!(judge(&lineage, 2, 100), Verdict::BeyondFork);
    assert_eq!(lineage.epoch_of(position(120)), Some(EpochId(Uuid::from_u128(3))));
    assert_eq!(lineage.epoch_of(position(49)), Some(EpochId(Uuid::from_u128(1))));
}

#[test]
fn a_token_of_an_epoch_not_heard_of_waits() {
    assert_eq!(judge(&Lineage(vec![epoch(1, 1)]), 9, 1), Verdict::UnknownEpoch);
    assert_eq!(judge(&Lineage::default(), 1, 1), Verdict::UnknownEpoch);
}

#[test]
fn the_present_epoch_is_the_last() {
    assert_eq!(Lineage::default().current(), None);
    assert_eq!(Lineage(vec![epoch(1, 1), epoch(2, 5)]).current(), Some(epoch(2, 5)));
}
