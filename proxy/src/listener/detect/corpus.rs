//! What clients say first, protocol by protocol, written down from the specifications.

use super::Verdict::{self, Http1, Http2, Opaque, Tls};

/// A protocol, what its client says first (after the greeting of its server, if that speaks first),
/// and what that is.
pub(super) type Sample = (&'static str, Verdict, &'static [u8]);

/// Requests of HTTP/1, with methods and targets of all kinds.
pub(super) const HTTP1: &[Sample] = &[
    ("get", Http1, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("1.0", Http1, b"GET /index.html HTTP/1.0\r\n\r\n"),
    ("head", Http1, b"HEAD /a?b=c HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("post", Http1, b"POST /form HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na=b"),
    ("webdav", Http1, b"PROPFIND /dav/ HTTP/1.1\r\nhost: a\r\ndepth: 1\r\n\r\n"),
    ("longest method", Http1, b"UPDATEREDIRECTREF /x HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("purge", Http1, b"PURGE /x HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("ssdp over tcp", Http1, b"M-SEARCH * HTTP/1.1\r\nhost: 239.255.255.250:1900\r\n\r\n"),
    ("lower case", Http1, b"get / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("any token", Http1, b"X-!#$%&'*+.^_`|~9 / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("options", Http1, b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("absolute", Http1, b"GET http://a.example/x HTTP/1.1\r\nhost: a.example\r\n\r\n"),
    ("connect", Http1, b"CONNECT a.example:443 HTTP/1.1\r\nhost: a.example:443\r\n\r\n"),
    ("h2c upgrade", Http1, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"),
    ("websocket", Http1, b"GET /chat HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"),
    ("empty line first", Http1, b"\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("spaces", Http1, b"GET  /a  HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("tab", Http1, b"GET\t/a\tHTTP/1.1\r\nhost: a\r\n\r\n"),
    ("target with a space", Http1, b"GET /a b HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("line feeds", Http1, b"GET / HTTP/1.1\nhost: a\n\n"),
    ("0.9", Http1, b"GET /index.html\r\n"),
    ("shoutcast listener", Http1, b"GET /stream HTTP/1.0\r\nIcy-MetaData: 1\r\n\r\n"),
    ("pri of http/1", Http1, b"PRI /a HTTP/1.1\r\nhost: a\r\n\r\n"),
];

/// HTTP/2, alone and with gRPC in it.
pub(super) const HTTP2: &[Sample] = &[
    ("preface", Http2, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
    ("grpc", Http2, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x04\x00\x00\xff\xff\x00\x00\x05\x01\x04\x00\x00\x00\x01\x83\x86\x45\x85\x62"),
];

/// The beginning of a greeting of TLS in each version that has this form. What follows does not matter
/// here.
pub(super) const TLS: &[Sample] = &[
    (
        "tls 1.0",
        Tls,
        b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x01\x07\x07\x07",
    ),
    (
        "tls 1.1",
        Tls,
        b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x02\x07\x07\x07",
    ),
    (
        "tls 1.2",
        Tls,
        b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03\x07\x07\x07",
    ),
    (
        "tls 1.3",
        Tls,
        b"\x16\x03\x01\x06\xc0\x01\x00\x06\xbc\x03\x03\x07\x07\x07",
    ),
    (
        "tls with a record of its version",
        Tls,
        b"\x16\x03\x03\x02\x00\x01\x00\x01\xfc\x03\x03\x07",
    ),
    (
        "tls in records of one byte",
        Tls,
        b"\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x01\x00",
    ),
];

/// Protocols that are none of these, whose clients speak first.
pub(super) const CLIENT_FIRST: &[Sample] = &[
    ("postgresql startup", Opaque, b"\x00\x00\x00\x1d\x00\x03\x00\x00user\x00app\x00database\x00a\x00\x00"),
    ("postgresql ssl request", Opaque, b"\x00\x00\x00\x08\x04\xd2\x16\x2f"),
    ("postgresql gss request", Opaque, b"\x00\x00\x00\x08\x04\xd2\x16\x30"),
    ("redis arrays", Opaque, b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"),
    ("redis hello", Opaque, b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"),
    ("redis inline", Opaque, b"PING\r\n"),
    ("redis inline get", Opaque, b"GET key\r\n"),
    ("redis inline keys", Opaque, b"KEYS *\r\n"),
    ("memcached text", Opaque, b"get /a/key\r\n"),
    ("memcached set", Opaque, b"set key 0 900 4\r\ndata\r\n"),
    ("memcached meta", Opaque, b"mg foo v\r\n"),
    ("memcached binary", Opaque, b"\x80\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00Hello"),
    ("mongodb op_msg", Opaque, b"\x24\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xdd\x07\x00\x00\x00\x00\x00\x00\x00\x0f\x00\x00\x00\x10hello\x00\x01\x00\x00\x00\x00"),
    ("mongodb op_query", Opaque, b"\x3a\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xd4\x07\x00\x00\x04\x00\x00\x00admin.$cmd\x00"),
    ("amqp 0-9-1", Opaque, b"AMQP\x00\x00\x09\x01"),
    ("amqp 1.0", Opaque, b"AMQP\x00\x01\x00\x00"),
    ("mqtt 3.1.1", Opaque, b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02id"),
    ("mqtt 5", Opaque, b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03cid"),
    ("kafka api versions", Opaque, b"\x00\x00\x00\x1a\x00\x12\x00\x03\x00\x00\x00\x01\x00\x07console\x00\x01a\x01b\x00"),
    ("zookeeper connect", Opaque, b"\x00\x00\x00\x2d\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x75\x30"),
    ("zookeeper word", Opaque, b"ruok\n"),
    ("cassandra options", Opaque, b"\x04\x00\x00\x00\x05\x00\x00\x00\x00"),
    ("ldap bind", Opaque, b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"),
    ("ssh", Opaque, b"SSH-2.0-OpenSSH_9.6\r\n"),
    ("dns over tcp", Opaque, b"\x00\x1d\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01"),
    ("sip invite", Opaque, b"INVITE sip:bob@biloxi.example SIP/2.0\r\nVia: SIP/2.0/TCP client\r\n\r\n"),
    ("sip register", Opaque, b"REGISTER sip:registrar.example SIP/2.0\r\n\r\n"),
    ("sip keep-alive", Opaque, b"\r\n\r\nOPTIONS sip:a@b SIP/2.0\r\n\r\n"),
    ("rtsp describe", Opaque, b"DESCRIBE rtsp://media.example/twister RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
    ("rtsp options", Opaque, b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
    ("rtsp with a path", Opaque, b"OPTIONS /live RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
    ("rtsp 2.0", Opaque, b"SETUP rtsp://media.example/a/1 RTSP/2.0\r\n\r\n"),
    ("icecast source", Opaque, b"SOURCE /mount ICE/1.0\r\ncontent-type: audio/mpeg\r\n\r\n"),
    ("gearman text", Opaque, b"status\r\n"),
    ("nats connect", Opaque, b"CONNECT {\"verbose\":false,\"lang\":\"go\",\"version\":\"1.31.0\"}\r\nPING\r\n"),
    ("stomp", Opaque, b"CONNECT\naccept-version:1.2\nhost:a\n\n\x00"),
    ("stomp with carriage returns", Opaque, b"STOMP\r\naccept-version:1.2\r\n\r\n\x00"),
    ("xmpp", Opaque, b"<?xml version='1.0'?><stream:stream to='a' version='1.0'>"),
    ("bittorrent", Opaque, b"\x13BitTorrent protocol\x00\x00\x00\x00\x00\x10\x00\x05"),
    ("rdp", Opaque, b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00"),
    ("proxy protocol v1", Opaque, b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"),
    ("proxy protocol v2", Opaque, b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\xdc\x04\x01\xbb"),
    ("thrift binary", Opaque, b"\x80\x01\x00\x01\x00\x00\x00\x04ping\x00\x00\x00\x01\x00"),
    ("thrift framed", Opaque, b"\x00\x00\x00\x11\x80\x01\x00\x01\x00\x00\x00\x04ping\x00\x00\x00\x01\x00"),
    ("thrift compact", Opaque, b"\x82\x21\x01\x04ping\x00"),
    ("fix", Opaque, b"8=FIX.4.2\x019=65\x0135=A\x0149=CLIENT\x0156=SERVER\x01"),
    ("minecraft", Opaque, b"\x10\x00\xfd\x05\x09localhost\x63\xdd\x01"),
    ("minecraft of old", Opaque, b"\xfe\x01"),
    ("smb", Opaque, b"\x00\x00\x00\x55\xffSMB\x72\x00\x00\x00\x00"),
    ("socks 5", Opaque, b"\x05\x01\x00"),
    ("socks 4", Opaque, b"\x04\x01\x00\x50\xc0\x00\x02\x01user\x00"),
    ("ssl 2", Opaque, b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80"),
    ("an alert of tls", Opaque, b"\x15\x03\x01\x00\x02\x02\x28"),
    ("a server's side of tls", Opaque, b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03"),
    ("graphite", Opaque, b"servers.web1.load 0.42 1700000000\n"),
    ("statsd", Opaque, b"requests:1|c\n"),
    ("influx", Opaque, b"cpu,host=a value=0.64 1434055562000000000\n"),
    ("syslog", Opaque, b"<34>1 2003-10-11T22:14:15.003Z mymachine su - ID47 - 'su root' failed\n"),
    ("syslog with lengths", Opaque, b"93 <34>1 2003-10-11T22:14:15.003Z mymachine su - ID47 - failed\n"),
    ("gopher", Opaque, b"/docs\r\n"),
    ("finger", Opaque, b"someone\r\n"),
    ("whois", Opaque, b"example.com\r\n"),
    ("irc", Opaque, b"NICK guest\r\nUSER guest 0 * :Guest\r\n"),
    ("rsync", Opaque, b"@RSYNCD: 31.0 sha512 sha256\n"),
    ("git", Opaque, b"0033git-upload-pack /project.git\x00host=myserver.com\x00"),
    ("telnet", Opaque, b"\xff\xfd\x03\xff\xfb\x18"),
    ("diameter", Opaque, b"\x01\x00\x00\xc8\x80\x00\x01\x01\x00\x00\x00\x00"),
    ("http of no version", Opaque, b"GET a.example\r\n"),
    ("some other version", Opaque, b"GET / HTTPS/1.1\r\n\r\n"),
];

/// What servers say that speak first, and what their clients say then.
pub(super) const SERVER_FIRST: &[(&str, &[u8], &[u8])] = &[
    (
        "mysql",
        b"\x4a\x00\x00\x00\x0a8.0.36\x00\x08\x00\x00\x00",
        b"\x20\x00\x00\x01\x05\xa6\xff\x01\x00\x00\x00\x01\x2d",
    ),
    (
        "smtp",
        b"220 mail.example ESMTP\r\n",
        b"EHLO client.example\r\n",
    ),
    ("ftp", b"220 (vsFTPd 3.0.5)\r\n", b"USER anonymous\r\n"),
    (
        "imap",
        b"* OK [CAPABILITY IMAP4rev1] ready\r\n",
        b"a1 LOGIN user pass\r\n",
    ),
    (
        "pop3",
        b"+OK POP3 ready <1896.697170952@dbc.mtview.ca.us>\r\n",
        b"USER mrose\r\n",
    ),
    ("nntp", b"200 news.example ready\r\n", b"MODE READER\r\n"),
    (
        "ssh",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"SSH-2.0-libssh2_1.11.0\r\n",
    ),
    ("vnc", b"RFB 003.008\n", b"RFB 003.008\n"),
    (
        "nats",
        b"INFO {\"server_id\":\"A\",\"version\":\"2.10.0\"}\r\n",
        b"CONNECT {\"verbose\":false}\r\n",
    ),
    (
        "beanstalk, whose client speaks first",
        b"",
        b"put 0 0 60 5\r\nhello\r\n",
    ),
];
