use super::*;

/// A question about `a.test`, by type and class of an address, with this id and these flags.
fn message(id: u16, flags: [u8; 2], name: &[u8]) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend(flags);
    message.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend(name);
    message.extend([0, 1, 0, 1]);
    message
}

const NAME: &[u8] = b"\x01a\x04test\x00";
const QUERY: [u8; 2] = [0x01, 0x00];
const REPLY: [u8; 2] = [0x81, 0x80];

#[test]
fn only_the_answer_to_what_was_asked_is_one() {
    let query = message(7, QUERY, NAME);

    assert!(answers(&message(7, REPLY, NAME), &query));
    assert!(answers(&message(7, REPLY, b"\x01A\x04tESt\x00"), &query));
    let longer = [&message(7, REPLY, NAME)[..], b"records"].concat();
    assert!(answers(&longer, &query));
    let mut no_question = message(7, REPLY, NAME);
    no_question[5] = 0;
    let mut other_type = message(7, REPLY, NAME);
    *other_type.last_mut().expect("not empty") = 3;
    for wrong in [
        query.clone(),
        message(8, REPLY, NAME),
        message(7, REPLY, b"\x01b\x04test\x00"),
        message(7, REPLY, b"\x01a\x05testx\x00"),
        message(7, REPLY, b"\xc0\x0c"),
        message(7, REPLY, NAME)[..16].to_vec(),
        Vec::new(),
        no_question,
        other_type,
    ] {
        assert!(!answers(&wrong, &query), "{wrong:?}");
    }
}

#[test]
fn the_id_is_all_that_changes() {
    let mut reply = message(7, REPLY, NAME);

    set_id(&mut reply, [1, 2]);

    assert_eq!(reply, message(0x0102, REPLY, NAME));
    assert_eq!(id(&reply), Some([1, 2]));
}

#[test]
fn servers_that_cannot_tell_are_told_from_those_that_say_no() {
    for (code, failed) in [
        (0, false),
        (1, false),
        (2, true),
        (3, false),
        (4, true),
        (5, true),
    ] {
        assert_eq!(is_failure(&message(7, [0x81, 0x80 | code], NAME)), failed);
    }
}

#[test]
fn what_is_cut_is_the_answer_to_the_same_question_without_records() {
    let mut whole = message(7, REPLY, NAME);
    whole[7] = 2;
    whole.extend(b"records");

    let cut = cut(&whole);

    assert_eq!(cut, message(7, [REPLY[0] | 0x02, REPLY[1]], NAME));
}

#[test]
fn no_such_name_becomes_nothing_of_the_kind_and_the_rest_stays() {
    for (before, after) in [(0x83, 0x80), (0x80, 0x80), (0x82, 0x82)] {
        let mut reply = message(7, [0x81, before], NAME);

        forgive_unknown_name(&mut reply);

        assert_eq!(reply, message(7, [0x81, after], NAME));
    }
}
