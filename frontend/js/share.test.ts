import assert from 'node:assert/strict';
import { test } from 'node:test';
import { portOf } from './port.ts';

test('a preview’s address names its port', () => {
  assert.equal(portOf('http://3000--a-agentruntime-abc123.localhost:4000/'), '3000');
  assert.equal(portOf('https://65535--a.preview.example.com/x?y=1--2'), '65535');
  for (const other of ['', 'http://localhost:4000/', 'http://a--3000.localhost/', 'ftp://3000--a/']) assert.equal(portOf(other), undefined, other);
});
