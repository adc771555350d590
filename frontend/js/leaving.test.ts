import assert from 'node:assert/strict';
import { test } from 'node:test';
import { leads, type Click, type Link } from './leaving.ts';

const HERE = 'https://agent.example/projects/1/files?a=1#main';
const click: Click = { button: 0, ctrlKey: false, metaKey: false, shiftKey: false, altKey: false, defaultPrevented: false };
const link: Link = { href: 'https://agent.example/projects/1', target: '', download: false };

test('a plain click on a link to another page of the site leads there', () => {
  for (const to of [{}, { href: '/settings' }, { href: '?a=2' }, { target: '_self' }]) assert.equal(leads(click, { ...link, ...to }, HERE), true, JSON.stringify(to));
});

test('what opens elsewhere, is saved, or stays on the page leads nowhere', () => {
  for (const other of [{ target: '_blank' }, { target: 'preview' }, { download: true }, { href: 'https://example.com/' }, { href: '' }, { href: HERE.replace('#main', '#top') }, { href: 'http://[' }, { href: 'mailto:a@b' }]) {
    assert.equal(leads(click, { ...link, ...other }, HERE), false, JSON.stringify(other));
  }
  for (const other of [{ button: 1 }, { ctrlKey: true }, { metaKey: true }, { shiftKey: true }, { altKey: true }, { defaultPrevented: true }]) {
    assert.equal(leads({ ...click, ...other }, link, HERE), false, JSON.stringify(other));
  }
});
