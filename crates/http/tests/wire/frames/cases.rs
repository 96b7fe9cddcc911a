//! The table: what is sent, and how it has to end. RFC 9113 is meant where a section is named. How long a body may take is not here: that is
//! decided by who reads it.

use super::PREFACE;

/// How a case ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// GOAWAY with an error.
    Connection,
    /// RST_STREAM or a refusal.
    Stream,
    /// Nothing is served; the limits close what goes on saying nothing.
    Silence,
    /// An answer, because it is allowed.
    Served,
    /// An answer although RFC 9113 §8.1.1 calls it malformed: the h2 crate takes the path for `/` and leaves the field out.
    Lenient,
    /// Within the limits, in one way or another: what floods with what is allowed.
    Any,
}

pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) start: Vec<u8>,
    pub(super) frames: Vec<u8>,
    pub(super) times: usize,
    pub(super) end: End,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH: u8 = 5;
const PING: u8 = 6;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const WHOLE: u8 = END_STREAM | END_HEADERS;

/// How often floods repeat: megabytes, and far beyond every limit of the server.
const FLOOD: usize = 100_000;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![len[1], len[2], len[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A field without Huffman coding or indexing.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0, u8::try_from(name.len()).unwrap()];
    field.extend_from_slice(name.as_bytes());
    field.push(u8::try_from(value.len()).unwrap());
    field.extend_from_slice(value.as_bytes());
    field
}

/// The pseudo-header fields of a request, and others.
fn block(method: &str, path: &str, others: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":authority", "x"), (":path", path)];
    pseudo.iter().chain(others).flat_map(|(name, value)| field(name, value)).collect()
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &block("GET", "/", &[]))
}

fn put(others: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &block("PUT", "/echo", others))
}

fn setting(name: u16, value: u32) -> Vec<u8> {
    [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

fn case(name: &'static str, end: End, frames: &[Vec<u8>]) -> Case {
    flood(name, end, frames, 1)
}

fn flood(name: &'static str, end: End, frames: &[Vec<u8>], times: usize) -> Case {
    Case { name, start: [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat(), frames: frames.concat(), times, end }
}

fn raw(name: &'static str, end: End, bytes: &[u8]) -> Case {
    Case { name, start: bytes.to_vec(), frames: Vec::new(), times: 0, end }
}

/// All of them.
pub(super) fn all() -> Vec<Case> {
    [prefaces(), settings(), streams(), fields(), bodies(), floods()].into_iter().flatten().collect()
}

fn prefaces() -> Vec<Case> {
    vec![
        raw("half a preface", End::Silence, &PREFACE[..12]),
        raw("a preface with another end", End::Silence, b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"),
        raw("a preface alone", End::Silence, PREFACE),
        raw(
            "a preface and a request over HTTP/1.1",
            End::Silence,
            &[PREFACE, b"GET / HTTP/1.1\r\n\r\n"].concat(),
        ),
        raw("PING before SETTINGS", End::Silence, &[PREFACE, &frame(PING, 0, 0, &[0; 8])[..]].concat()),
        raw(
            "a frame that does not end",
            End::Silence,
            &[PREFACE, &[0, 0, 6, SETTINGS, 0, 0, 0][..]].concat(),
        ),
        case(
            "a frame longer than announced",
            End::Connection,
            &[[&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1][..], &[0; 20_000]].concat()],
        ),
    ]
}

fn settings() -> Vec<Case> {
    let set = |name, value| frame(SETTINGS, 0, 0, &setting(name, value));
    vec![
        case("SETTINGS of five bytes", End::Connection, &[frame(SETTINGS, 0, 0, &[0; 5])]),
        case("SETTINGS acknowledged with a payload", End::Connection, &[frame(SETTINGS, ACK, 0, &[0; 6])]),
        case("SETTINGS of a stream", End::Connection, &[frame(SETTINGS, 0, 1, &[])]),
        case("a window of 4 GiB", End::Connection, &[set(4, u32::MAX)]),
        case("frames of one byte", End::Connection, &[set(5, 1)]),
        case("push that is neither on nor off", End::Connection, &[set(2, 2)]),
        case(
            "a window of zero",
            End::Any,
            &[set(4, 0), frame(HEADERS, WHOLE, 1, &block("GET", "/bytes", &[]))],
        ),
        case("PING of seven bytes", End::Connection, &[frame(PING, 0, 0, &[0; 7])]),
        case("PING of a stream", End::Connection, &[frame(PING, 0, 1, &[0; 8])]),
        case("a window that grows by nothing", End::Connection, &[frame(WINDOW, 0, 0, &[0; 4])]),
        case(
            "a window that overflows",
            End::Connection,
            &[frame(WINDOW, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), frame(WINDOW, 0, 0, &[0x7f, 0xff, 0xff, 0xff])],
        ),
    ]
}

fn streams() -> Vec<Case> {
    vec![
        case("RST_STREAM of an idle stream", End::Connection, &[frame(RESET, 0, 1, &[0, 0, 0, 8])]),
        case("RST_STREAM of the connection", End::Connection, &[frame(RESET, 0, 0, &[0, 0, 0, 8])]),
        case("DATA of the connection", End::Connection, &[frame(DATA, 0, 0, b"x")]),
        case("DATA of an idle stream", End::Connection, &[frame(DATA, 0, 1, b"x")]),
        case("HEADERS of the connection", End::Connection, &[get(0)]),
        case("HEADERS of a stream of the server's", End::Connection, &[get(2)]),
        case("streams that count downwards", End::Any, &[get(5), get(3)]),
        case("DATA after the end", End::Any, &[get(1), frame(DATA, END_STREAM, 1, b"x")]),
        case("a stream that depends on itself", End::Any, &[frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0]), get(1)]),
        case("PRIORITY of four bytes", End::Any, &[frame(PRIORITY, 0, 1, &[0; 4])]),
        case(
            "PUSH_PROMISE of a client",
            End::Connection,
            &[frame(PUSH, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])],
        ),
        case(
            "CONTINUATION without HEADERS",
            End::Connection,
            &[frame(CONTINUATION, END_HEADERS, 1, &block("GET", "/", &[]))],
        ),
        case(
            "PING in the middle of HEADERS",
            End::Connection,
            &[frame(HEADERS, END_STREAM, 1, &[0x82]), frame(PING, 0, 0, &[0; 8])],
        ),
        case("more padding than frame", End::Connection, &[frame(HEADERS, WHOLE | PADDED, 1, &[200, 0x82])]),
        case(
            "HEADERS that stay open",
            End::Silence,
            &[frame(HEADERS, END_STREAM, 1, &block("GET", "/", &[]))],
        ),
    ]
}

fn fields() -> Vec<Case> {
    let with = |block: &[u8]| [frame(HEADERS, WHOLE, 1, block)];
    let other = |name, value| block("GET", "/", &[(name, value)]);
    // One field of four thousand bytes in the table, and then ten thousand times one byte that means it.
    let mut bomb = [&block("GET", "/", &[])[..], &[0x40, 1, b'x', 0x7f, 0xa1, 0x1e]].concat();
    bomb.resize(bomb.len() + 4000, b'a');
    bomb.resize(bomb.len() + 10_000, 0xbe);
    vec![
        case("no :path", End::Lenient, &with(&[field(":method", "GET"), field(":scheme", "http")].concat())),
        case("no :method", End::Stream, &with(&[field(":path", "/"), field(":scheme", "http")].concat())),
        case("two :method", End::Stream, &with(&other(":method", "PUT"))),
        case("an unknown pseudo-header field", End::Connection, &with(&other(":shoal", "x"))),
        case(
            "a pseudo-header field after the others",
            End::Stream,
            &with(&[field("a", "b"), block("GET", "/", &[])].concat()),
        ),
        case("a name in upper case", End::Connection, &with(&other("Accept", "x"))),
        case("connection: close", End::Stream, &with(&other("connection", "close"))),
        case("transfer-encoding: chunked", End::Stream, &with(&other("transfer-encoding", "chunked"))),
        case("te: gzip", End::Stream, &with(&other("te", "gzip"))),
        case("a line break in a value", End::Connection, &with(&other("x", "a\r\nb: c"))),
        case("a blank in a name", End::Connection, &with(&other("a b", "x"))),
        case("an index that is not in the table", End::Connection, &with(&[0x82, 0xff, 0x80, 0x01])),
        case("index zero", End::Connection, &with(&[0x80])),
        case("a table of 4 GiB", End::Connection, &with(&[0x3f, 0xff, 0xff, 0xff, 0xff, 0x0f])),
        case("an integer without an end", End::Connection, &with(&[0xff; 16])),
        case("Huffman padding of nine ones", End::Connection, &with(&[0, 0x82, 0xff, 0xff, 0])),
        case("a string longer than its block", End::Connection, &with(&[0, 0x7e, b'a'])),
        case("a field that is used ten thousand times", End::Any, &with(&bomb)),
    ]
}

fn bodies() -> Vec<Case> {
    let trailers = |flags, block: &[u8]| frame(HEADERS, flags, 1, block);
    let data = |flags| frame(DATA, flags, 1, b"abc");
    vec![
        case("trailers", End::Served, &[put(&[]), data(0), trailers(WHOLE, &field("x", "y"))]),
        case(
            "trailers with a method",
            End::Lenient,
            &[put(&[]), data(0), trailers(WHOLE, &field(":method", "GET"))],
        ),
        case(
            "trailers that do not end the stream",
            End::Stream,
            &[put(&[]), data(0), trailers(END_HEADERS, &field("x", "y"))],
        ),
        case(
            "more in content-length than comes",
            End::Stream,
            &[put(&[("content-length", "10")]), data(END_STREAM)],
        ),
        case(
            "less in content-length than comes",
            End::Stream,
            &[put(&[("content-length", "2")]), data(END_STREAM)],
        ),
        case(
            "a content-length that is no number",
            End::Stream,
            &[put(&[("content-length", "-1")]), data(END_STREAM)],
        ),
        case(
            "two different content-lengths",
            End::Stream,
            &[put(&[("content-length", "3"), ("content-length", "4")]), data(END_STREAM)],
        ),
        case(
            "HEADERS with content-length and without a body",
            End::Stream,
            &[frame(HEADERS, WHOLE, 1, &block("PUT", "/echo", &[("content-length", "3")]))],
        ),
    ]
}

fn floods() -> Vec<Case> {
    let circle = [frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 0]), frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 0])];
    let mut open =
        flood("CONTINUATION of nothing, for ever", End::Silence, &[frame(CONTINUATION, 0, 1, &[])], FLOOD);
    open.start.extend(frame(HEADERS, END_STREAM, 1, &[0x82]));
    let mut empty = flood("DATA of nothing, for ever", End::Any, &[frame(DATA, 0, 1, &[])], FLOOD);
    empty.start.extend(put(&[]));
    vec![
        flood("SETTINGS, for ever", End::Any, &[frame(SETTINGS, 0, 0, &setting(3, 1))], FLOOD),
        flood("PING, for ever", End::Any, &[frame(PING, 0, 0, &[7; 8])], FLOOD),
        flood(
            "acknowledgements that nobody asked for",
            End::Any,
            &[frame(SETTINGS, ACK, 0, &[]), frame(PING, ACK, 0, &[0; 8])],
            FLOOD,
        ),
        flood("dependencies in a circle", End::Any, &circle, FLOOD),
        flood("windows that grow by one", End::Any, &[frame(WINDOW, 0, 0, &[0, 0, 0, 1])], FLOOD),
        flood("frames of an unknown kind", End::Any, &[frame(0xfe, 0xff, 1, b"shoal")], FLOOD),
        open,
        empty,
    ]
}
