use model::{FieldError, Instance, NewEvent, Rejection};

use crate::domain::{context, registry};

fn tab() -> Box<dyn Instance> {
    registry().find_aggregate("tab").expect("it is registered").initial()
}

fn execute(command: &str, fields: &str) -> Result<Vec<NewEvent>, Rejection> {
    tab().execute(command, fields.as_bytes(), &context())
}

fn errors(command: &str, fields: &str) -> Vec<FieldError> {
    match execute(command, fields) {
        Err(Rejection::Invalid(errors)) => errors,
        other => panic!("{fields} is invalid, but came to {other:?}"),
    }
}

fn pointers(command: &str, fields: &str) -> Vec<String> {
    errors(command, fields).into_iter().map(|error| error.pointer).collect()
}

#[test]
fn commands_are_called_by_their_variants_in_snake_case() {
    let registry = registry();
    let commands = registry.find_aggregate("tab").expect("it is registered").commands().to_vec();
    assert_eq!(commands, ["open", "add_round", "tip", "rename", "close", "break_glass"]);
}

#[test]
fn an_accepted_command_comes_to_events_under_their_stored_names() {
    let events = execute("open", r#"{"owner":"Ada"}"#).expect("it is accepted");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].event_type.to_string(), "tab.opened.v3");
    assert_eq!(&events[0].payload[..], br#"{"owner":"Ada","table":1}"#);
}

#[test]
fn a_variant_with_one_unnamed_field_is_written_as_that_field() {
    let events = execute("rename", r#"{"owner":"Ada"}"#).expect("it is accepted");
    assert_eq!(&events[0].payload[..], br#"{"owner":"Ada"}"#);
}

#[test]
fn a_variant_without_fields_is_written_as_an_empty_object() {
    let events = execute("close", "{}").expect("it is accepted");
    assert_eq!(&events[0].payload[..], b"{}");
}

#[test]
fn an_unknown_command_is_told_which_there_are() {
    match execute("dance", "{}") {
        Err(Rejection::UnknownCommand { known }) => assert_eq!(known.len(), 6),
        other => panic!("there is no such command, but it came to {other:?}"),
    }
}

#[test]
fn an_unknown_field_is_pointed_to_wherever_it_is() {
    for (command, fields, pointer) in [
        ("open", r#"{"owner":"Ada","colour":"red"}"#, "/colour"),
        ("rename", r#"{"owner":"Ada","colour":"red"}"#, "/colour"),
        ("close", r#"{"colour":"red"}"#, "/colour"),
        ("close", r#"{"a/b~c":1}"#, "/a~1b~0c"),
        (
            "add_round",
            r#"{"drinks":[{"name":"tea","price":"1"},{"name":"tea","price":"1","size":2}]}"#,
            "/drinks/1/size",
        ),
    ] {
        assert_eq!(pointers(command, fields), [pointer], "{command} {fields}");
    }
}

#[test]
fn every_unknown_field_is_named() {
    assert_eq!(pointers("open", r#"{"a":1,"owner":"Ada","b":2}"#), ["/a", "/b"]);
}

#[test]
fn a_wrong_type_is_pointed_to_and_says_what_is_expected() {
    for (command, fields, pointer, words) in [
        ("open", r#"{"owner":7}"#, "/owner", "expected a string"),
        ("rename", r#"{"owner":7}"#, "/owner", "expected a string"),
        ("add_round", r#"{"drinks":[{"name":"tea","price":1.5}]}"#, "/drinks/0/price", "string with a decimal number"),
        ("add_round", r#"{"drinks":[{"name":"tea","price":"1.555"}]}"#, "/drinks/0/price", "at most 2 decimals"),
        ("add_round", r#"{"drinks":{}}"#, "/drinks", "expected a sequence"),
        ("open", "{}", "", "missing field `owner`"),
        ("open", "7", "", "invalid type"),
        ("close", "7", "", "invalid type"),
    ] {
        let errors = errors(command, fields);
        assert_eq!(errors.len(), 1, "{command} {fields}");
        assert_eq!(errors[0].pointer, pointer, "{command} {fields}: {errors:?}");
        assert!(errors[0].detail.contains(words), "{command} {fields}: {errors:?}");
        assert!(!errors[0].detail.contains(" at line "), "{errors:?}");
    }
}

#[test]
fn fields_are_an_object_and_never_a_list_in_the_right_order() {
    assert_eq!(pointers("open", r#"["Ada"]"#), [""]);
    assert_eq!(pointers("close", "[]"), [""]);
}

#[test]
fn a_field_given_twice_is_refused() {
    assert!(errors("open", r#"{"owner":"Ada","owner":"Bob"}"#)[0].detail.contains("duplicate field"));
}

#[test]
fn no_fields_at_all_are_the_same_as_an_empty_object() {
    for fields in ["", "{}", " {} "] {
        assert!(execute("close", fields).is_ok(), "{fields:?}");
        assert_eq!(execute("tip", fields), Ok(Vec::new()), "{fields:?}");
    }
}

#[test]
fn a_refusal_has_code_title_and_detail_and_changes_nothing() {
    let mut tab = tab();
    tab.execute("close", b"", &context()).expect("an open tab closes");
    let before = tab.snapshot();
    match tab.execute("close", b"", &context()) {
        Err(Rejection::Refused { code, title, detail }) => {
            assert_eq!((&*code, &*title, &*detail), ("closed", "The tab is closed", "the tab is closed: open another"));
        }
        other => panic!("a closed tab refuses, but it came to {other:?}"),
    }
    assert_eq!(tab.snapshot(), before);
}

#[test]
fn an_accepted_command_evolves_the_state_as_its_events_do() {
    let mut decided = tab();
    let mut evolved = tab();
    for (command, fields) in
        [("open", r#"{"owner":"Ada"}"#), ("add_round", r#"{"drinks":[{"name":"tea","price":"1.5"}]}"#)]
    {
        for event in decided.execute(command, fields.as_bytes(), &context()).expect("it is accepted") {
            evolved.evolve(&event.event_type, &event.payload).expect("it is an event of the tab");
        }
    }
    assert_eq!(decided.snapshot(), evolved.snapshot());
    assert_eq!(decided.snapshot(), br#"{"owner":"Ada","owed":"1.50","closed":false}"#);
}

#[test]
fn a_snapshot_restores_the_state() {
    let registry = registry();
    let tab = registry.find_aggregate("tab").expect("it is registered");
    let snapshot = br#"{"owner":"Ada","owed":"1.50","closed":true}"#;
    assert_eq!(tab.restore(snapshot).expect("it is a snapshot of a tab").snapshot(), snapshot);
    assert!(tab.restore(b"").is_err(), "what could not be written restores nothing");
}

#[test]
fn a_panic_of_the_domain_is_an_answer_and_not_the_end() {
    assert_eq!(execute("break_glass", ""), Err(Rejection::Panicked("shards everywhere".to_owned())));
}
