//! Lists: filters, order and pages.

use query_service::{Body, Freshness, QueryOutcome};

use super::world::{EPOCH, World, answered, delete, list, put, token};

/// Four parts, whose keys tell nothing of their order.
async fn stock(world: &mut World) {
    world
        .fold(vec![
            put("a", Some("red"), "10.00"),
            put("b", None, "9.50"),
            put("c", Some("blue"), "100"),
            put("d", Some("Red"), "9.50"),
        ])
        .await;
}

pub(super) async fn a_list_contains_its_token(mut world: World) {
    stock(&mut world).await;
    let answer = answered(world.service.list(list(&[], Some(token(EPOCH, 1)))).await);
    assert_eq!((answer.token, answer.freshness), (Some(token(EPOCH, 1)), Freshness::Fresh));
    let Body::Page { position, .. } = answer.body else { panic!("{answer:?}") };
    assert_eq!(position.map(model::Position::get), Some(1));
    let outcome = world.service.list(list(&[], Some(token(EPOCH, 2)))).await;
    assert!(matches!(outcome, QueryOutcome::NotYetConsistent { behind: 1, .. }), "{outcome:?}");
}

pub(super) async fn filters_choose_rows_exactly(mut world: World) {
    stock(&mut world).await;
    for (filters, keys) in [
        (&[][..], "abcd"),
        (&[("colour", "eq.red")], "a"),
        (&[("colour", "neq.red")], "bcd"),
        (&[("colour", "is.null")], "b"),
        (&[("colour", "in.(red,blue,green)")], "ac"),
        (&[("price", "eq.9.5")], "bd"),
        (&[("price", "gt.9.5")], "ac"),
        (&[("price", "gte.10")], "ac"),
        (&[("price", "lt.10")], "bd"),
        (&[("price", "lte.10.00")], "abd"),
        (&[("price", "gt.9.5"), ("price", "lt.100")], "a"),
        (&[("price", "eq.9.5"), ("colour", "eq.Red")], "d"),
        (&[("colour", "eq.nothing")], ""),
    ] {
        let (found, next) = world.page(filters).await;
        assert_eq!((found.concat().as_str(), next), (keys, None), "{filters:?}");
    }
}

pub(super) async fn rows_are_ordered_with_nulls_last(mut world: World) {
    stock(&mut world).await;
    for (order, keys) in [
        ("price", "bdac"),
        ("price desc", "cabd"),
        ("colour", "dcab"),
        ("colour desc", "acdb"),
        ("price desc,colour", "cadb"),
    ] {
        assert_eq!(world.page(&[("order_by", order)]).await.0.concat(), keys, "{order}");
    }
}

pub(super) async fn what_lists_cannot_do_is_refused(mut world: World) {
    stock(&mut world).await;
    let outcome = world.list(&[("weight", "eq.1")]).await;
    let QueryOutcome::UnknownParameter { name, possible } = outcome else { panic!("{outcome:?}") };
    assert_eq!(name, "weight");
    assert!(possible.contains("colour") && possible.contains("price") && possible.contains("page_size"), "{possible}");
    for (name, value) in [
        ("price", "eq.cheap"),
        ("price", "about.10"),
        ("order_by", "weight"),
        ("order_by", "price sideways"),
        ("page_size", "0"),
    ] {
        let outcome = world.list(&[(name, value)]).await;
        assert!(matches!(&outcome, QueryOutcome::InvalidFilter { name: told, .. } if told == name), "{outcome:?}");
    }
    assert_eq!(world.page(&[("page_size", "1000000")]).await.0.len(), 4, "a large page is capped in silence");
}

pub(super) async fn pages_go_on_where_the_last_one_ended(mut world: World) {
    stock(&mut world).await;
    let asked = [("order_by", "price"), ("page_size", "2")];
    let (first, next) = world.page(&asked).await;
    assert_eq!(first, ["b", "d"], "equal prices are ordered by key");
    // What happens before the place where the page ended moves no later row.
    world.fold(vec![put("e", None, "1.00"), put("f", None, "2.00"), delete("b"), put("g", None, "50")]).await;
    let next = next.expect("there is more");
    let (second, next) = world.page(&[asked[0], asked[1], ("page_token", &next)]).await;
    assert_eq!(second, ["a", "g"]);
    let next = next.expect("there is more");
    let (third, next) = world.page(&[asked[0], ("page_size", "50"), ("page_token", &next)]).await;
    assert_eq!((third, next), (vec!["c".to_owned()], None));
}

pub(super) async fn a_forged_page_token_is_refused(mut world: World) {
    stock(&mut world).await;
    let (_, next) = world.page(&[("page_size", "1")]).await;
    let next = next.expect("there is more");
    let swapped = |place: usize| {
        let mut forged = next.clone().into_bytes();
        forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
        String::from_utf8(forged).expect("tokens are ASCII")
    };
    let forged = [swapped(next.len() / 2), swapped(next.len() - 1), swapped(4), next[..next.len() - 8].to_owned()];
    for forged in forged.iter().map(String::as_str).chain(["", "p1.", "2"]) {
        let outcome = world.list(&[("page_size", "1"), ("page_token", forged)]).await;
        assert!(matches!(outcome, QueryOutcome::InvalidPageToken { .. }), "{forged}: {outcome:?}");
    }
}

pub(super) async fn a_page_token_serves_its_own_query_only(mut world: World) {
    stock(&mut world).await;
    let (_, next) = world.page(&[("page_size", "1"), ("colour", "neq.blue")]).await;
    let next = next.expect("there is more");
    for other in [("colour", "neq.red"), ("order_by", "price")] {
        let outcome = world.list(&[("page_size", "1"), other, ("page_token", &next)]).await;
        assert!(matches!(outcome, QueryOutcome::InvalidPageToken { .. }), "{other:?}: {outcome:?}");
    }
}

pub(super) async fn a_page_token_ends_with_its_generation(mut world: World) {
    stock(&mut world).await;
    let (_, next) = world.page(&[("page_size", "1")]).await;
    let next = next.expect("there is more");
    world.rebuild(vec![put("a", None, "1"), put("b", None, "2")]).await;
    let outcome = world.list(&[("page_size", "1"), ("page_token", &next)]).await;
    let QueryOutcome::InvalidPageToken { detail } = outcome else { panic!("{outcome:?}") };
    assert!(detail.contains("rebuilt"), "{detail}");
}
