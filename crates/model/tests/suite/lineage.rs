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

#[test]
fn a_lineage_is_continued_by_one_with_further_epochs_only() {
    let lineage = Lineage(vec![epoch(1, 1), epoch(2, 100)]);
    assert!(lineage.is_continued_by(&Lineage(vec![epoch(1, 1), epoch(2, 100), epoch(3, 50)])));
    for other in [&[epoch(1, 1), epoch(2, 100)][..], &[epoch(1, 1)], &[epoch(1, 1), epoch(3, 100), epoch(4, 101)]] {
        assert!(!lineage.is_continued_by(&Lineage(other.to_vec())), "{other:?}");
    }
}

#[test]
fn a_token_of_an_epoch_that_a_restored_copy_never_had_lies_beyond_a_fork() {
    // The copy is older than epoch 2, and has positions of epoch 1 that epoch 2 had cut off.
    let restored = Lineage(vec![epoch(1, 1), epoch(3, 80)]);
    assert_eq!(judge(&restored, 2, 60), Verdict::UnknownEpoch);
    let restored = restored.remembering(&[Lineage(vec![epoch(1, 1)]), Lineage(vec![epoch(1, 1), epoch(2, 51)])]);
    assert_eq!(judge(&restored, 2, 51), Verdict::BeyondFork);
    assert_eq!(judge(&restored, 1, 60), Verdict::Reach(position(60)));
    assert_eq!(judge(&restored, 1, 80), Verdict::BeyondFork);
    assert_eq!(judge(&restored, 3, 80), Verdict::Reach(position(80)));
    assert_eq!(restored.epoch_of(position(60)), Some(EpochId(Uuid::from_u128(1))));
}

#[test]
fn every_token_of_a_log_that_was_replaced_by_another_lies_beyond_a_fork() {
    let former = [Lineage(vec![epoch(1, 1)]), Lineage(vec![epoch(1, 1), epoch(2, 100)])];
    let other = Lineage(vec![epoch(7, 1)]).remembering(&former);
    assert_eq!(other, Lineage(vec![epoch(1, 1), epoch(2, 100), epoch(7, 1)]));
    for (of, at) in [(1, 1), (1, 99), (2, 100)] {
        assert_eq!(judge(&other, of, at), Verdict::BeyondFork, "{at} of epoch {of}");
    }
    assert_eq!(judge(&other, 7, 1), Verdict::Reach(position(1)));
}

#[test]
fn an_epoch_that_a_lineage_has_yet_to_hear_of_is_not_gone() {
    let early = Lineage(vec![epoch(1, 1)]);
    assert_eq!(early.remembering(&[Lineage(vec![epoch(1, 1), epoch(2, 100)])]), early);
    assert_eq!(judge(&early, 2, 100), Verdict::UnknownEpoch);
}
