// A judge of HTTP/1: Node's own server, which prints what it understood, one JSON line for each
// request. The first line says where it listens.
'use strict';

const http = require('http');

const HEAD_BYTES_MAX = 256 * 1024;

function say(line) {
  process.stdout.write(JSON.stringify(line) + '\n');
}

function understood(request, body) {
  const headers = [];
  for (let at = 0; at < request.rawHeaders.length; at += 2) {
    headers.push([request.rawHeaders[at], request.rawHeaders[at + 1]]);
  }
  say({
    kind: 'request',
    method: request.method,
    target: request.url,
    host: request.headers.host || '',
    body: body.toString('latin1'),
    headers,
  });
}

const server = http.createServer(
  { insecureHTTPParser: false, maxHeaderSize: HEAD_BYTES_MAX, keepAliveTimeout: 0 },
  (request, response) => {
    const pieces = [];
    request.on('data', (piece) => pieces.push(piece));
    request.on('end', () => {
      understood(request, Buffer.concat(pieces));
      if (/^[\x21-\x7e]+$/.test(request.url)) {
        response.setHeader('x-judged', request.url);
      }
      response.end('judged');
    });
  },
);
server.maxHeadersCount = 0;
server.requestTimeout = 0;
server.headersTimeout = 0;
server.on('connect', (request, socket) => {
  understood(request, Buffer.alloc(0));
  socket.end('HTTP/1.1 501 Not Implemented\r\nconnection: close\r\ncontent-length: 0\r\n\r\n');
});
server.on('clientError', (error, socket) => {
  say({ kind: 'refused', reason: String(error.code || error.message) });
  if (socket.writable) {
    socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n');
  } else {
    socket.destroy();
  }
});
server.listen(0, '127.0.0.1', () => say({ kind: 'listening', port: server.address().port }));
