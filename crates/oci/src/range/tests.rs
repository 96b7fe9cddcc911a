//! Ranges of the conformance suite, their edges, and that no header selects bytes that do not exist.

use proptest::prelude::*;

use super::*;

fn select(header: &str, size: u64) -> Selection {
    Selection::of(Some(header), size)
}

#[test]
fn ranges_of_the_conformance_suite() {
    for (header, expected) in [
        ("bytes=500-1499", Selection::Part(500..1500)),
        ("bytes=500-", Selection::Part(500..4096)),
        ("bytes=-500", Selection::Part(3596..4096)),
        ("bytes=2000-5000", Selection::Part(2000..4096)),
        ("bytes=500-0", Selection::Unsatisfiable),
        ("bytes=5000-10000", Selection::Unsatisfiable),
    ] {
        assert_eq!(select(header, 4096), expected, "{header}");
    }
}

#[test]
fn edges() {
    for (header, size, expected) in [
        ("bytes=0-0", 1, Selection::Part(0..1)),
        ("bytes=0-", 0, Selection::Unsatisfiable),
        ("bytes=-1", 0, Selection::Whole),
        ("bytes=-0", 10, Selection::Unsatisfiable),
        ("bytes=-11", 10, Selection::Part(0..10)),
        ("bytes=10-", 10, Selection::Unsatisfiable),
        ("bytes=9-18446744073709551615", 10, Selection::Part(9..10)),
        ("bytes=9-99999999999999999999999", 10, Selection::Part(9..10)),
        ("bytes=99999999999999999999999-", 10, Selection::Unsatisfiable),
        ("bytes=-99999999999999999999999", 10, Selection::Part(0..10)),
        ("BYTES = 1 - 2 ", 10, Selection::Part(1..3)),
        ("bytes=1-2,", 10, Selection::Part(1..3)),
        ("bytes=0-", u64::MAX, Selection::Part(0..u64::MAX)),
    ] {
        assert_eq!(select(header, size), expected, "{header}");
    }
}

#[test]
fn what_makes_no_sense_is_ignored() {
    for header in [
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=--1",
        "bytes=a-b",
        "bytes=1",
        "bytes=1-2-3",
        "items=0-1",
        "bytes=+1-2",
        "bytes=0x1-2",
        "bytes=1-2,x",
        "bytes=x,1-2",
        "bytes=1-2,3-4,z",
        "0-1",
    ] {
        assert_eq!(select(header, 10), Selection::Whole, "{header}");
    }
    assert_eq!(Selection::of(None, 10), Selection::Whole);
}

#[test]
fn several_ranges_are_named_as_such() {
    assert_eq!(select("bytes=0-1,4-5", 10), Selection::Multi);
    assert_eq!(select("bytes=0-1, -2 , 3-", 10), Selection::Multi);
}

#[test]
fn chunks_have_no_unit() {
    assert_eq!(parse_chunk("0-0").unwrap(), 0..1);
    assert_eq!(parse_chunk("100-199").unwrap(), 100..200);
    for bad in [
        "",
        "-",
        "0",
        "5-",
        "-5",
        "bytes 0-9",
        "bytes=0-9",
        "0-9/10",
        "9-0",
        "a-b",
        "0-18446744073709551615",
        "0-99999999999999999999",
        "0--1",
        "0 - 9",
    ] {
        let error = parse_chunk(bad).unwrap_err();
        assert_eq!((error.code, error.status), (ErrorCode::RangeInvalid, 400), "{bad}");
    }
}

#[test]
fn written_forms() {
    assert_eq!(content_range(&(0..100), 200), "bytes 0-99/200");
    assert_eq!(unsatisfied_range(200), "bytes */200");
    assert_eq!(received_range(0), "0-0");
    assert_eq!(received_range(100), "0-99");
    assert_eq!(select(&request_range(&(5..10)), 200), Selection::Part(5..10));
}

proptest! {
    #[test]
    fn any_header_selects_bytes_that_exist(header in "(bytes=)?[-0-9, ax]{0,40}", size in any::<u64>()) {
        if let Selection::Part(part) = select(&header, size) {
            prop_assert!(part.start < part.end && part.end <= size);
        }
        let _ = parse_chunk(&header);
    }

    #[test]
    fn what_is_asked_is_selected(start in 0..1000_u64, len in 1..1000_u64) {
        let part = start..start + len;
        prop_assert_eq!(select(&request_range(&part), 2000), Selection::Part(part));
    }
}
