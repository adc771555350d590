// What stock ttyd does, and nothing else, for tests of `--runtime ttyd`: its page at `/`, `/token`, and `/ws` of the subprotocol `tty`, with
// a shell of its own for each who comes, which ends with them. The shell is on pipes: a line is shown once it is sent.
const crypto = require('node:crypto');
const http = require('node:http');
const { spawn } = require('node:child_process');

const PORT = 7681;
const WORD = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const [BINARY, CLOSE, PING, PONG] = [2, 8, 9, 10];

const server = http.createServer((request, answer) => {
  if (request.url === '/token') return answer.setHeader('content-type', 'application/json').end('{"token": ""}');
  if (request.url === '/') return answer.setHeader('content-type', 'text/html').end('<!DOCTYPE html><title>ttyd - Terminal</title>');
  answer.writeHead(404).end('404');
});

// With another subprotocol libwebsockets hangs up; arguments are taken only where `-a` says so.
server.on('upgrade', (request, socket, head) => {
  const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim());
  if (request.url !== '/ws' || !offered.includes('tty')) return socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n');
  const accept = crypto.createHash('sha1').update(request.headers['sec-websocket-key'] + WORD).digest('base64');
  const lines = ['Upgrade: websocket', 'Connection: Upgrade', `Sec-WebSocket-Accept: ${accept}`, 'Sec-WebSocket-Protocol: tty'];
  socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('\r\n')}\r\n\r\n`);
  socket.unshift(head);
  converse(socket);
});

function converse(socket) {
  const say = (kind, data) => send(socket, BINARY, Buffer.concat([Buffer.from(kind), data]));
  const show = (data) => say('0', Buffer.from(data.toString('latin1').replaceAll('\n', '\r\n'), 'latin1'));
  let shell;
  const begin = () => {
    shell = spawn('bash', ['--norc', '--noprofile', '-i'], { env: { ...process.env, PS1: '$ ', TERM: 'xterm-256color' } });
    for (const output of [shell.stdout, shell.stderr]) output.on('data', show);
    shell.stdin.on('error', () => undefined);
    shell.on('exit', () => socket.writable && (send(socket, CLOSE, Buffer.from([1000 >> 8, 1000 & 255])), socket.end()));
  };
  say('1', Buffer.from('bash (sandbox)'));
  say('2', Buffer.from('{ }'));
  socket.on('error', () => undefined);
  socket.on('close', () => shell?.kill('SIGKILL'));
  hear(socket, (opcode, data) => {
    if (opcode === PING) return send(socket, PONG, data);
    if (opcode === CLOSE) return socket.end();
    const kind = String.fromCharCode(data[0]);
    if (kind === '{') return shell ?? begin();
    if (kind === '2' || kind === '3') return [shell?.stdout, shell?.stderr].forEach((output) => output?.[kind === '2' ? 'pause' : 'resume']());
    if (kind !== '0' || shell === undefined) return;
    shell.stdin.write(Buffer.from(data.subarray(1).toString('latin1').replaceAll('\r', '\n'), 'latin1'));
  });
}

function send(socket, opcode, data) {
  const head = Buffer.alloc(data.length < 126 ? 2 : 10);
  head[0] = 128 | opcode;
  head[1] = data.length < 126 ? data.length : 127;
  if (data.length >= 126) head.writeBigUInt64BE(BigInt(data.length), 2);
  if (socket.writable) socket.write(Buffer.concat([head, data]));
}

/** Each frame that comes; clients of ours send no message in pieces. */
function hear(socket, heard) {
  let rest = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    for (;;) {
      const short = rest.length < 2 ? 0 : rest[1] & 127;
      const at = short === 127 ? 10 : short === 126 ? 4 : 2;
      if (rest.length < at) return;
      const length = short === 127 ? Number(rest.readBigUInt64BE(2)) : short === 126 ? rest.readUInt16BE(2) : short;
      if (rest.length < at + 4 + length) return;
      const mask = rest.subarray(at, at + 4);
      const data = Buffer.from(rest.subarray(at + 4, at + 4 + length).map((byte, n) => byte ^ mask[n % 4]));
      const opcode = rest[0] & 15;
      rest = rest.subarray(at + 4 + length);
      heard(opcode, data);
    }
  });
}

process.on('SIGTERM', () => process.exit(0));
server.listen(PORT, '0.0.0.0', () => console.log(`listening on ${PORT}`));
