'use client';

import { useEffect, useState } from 'react';
import { title } from '../title.js';

export default function Page() {
  const [text, setText] = useState('');
  // What is typed before React has taken over is nobody's.
  const [alive, setAlive] = useState(false);
  useEffect(() => setAlive(true), []);
  return (
    <main>
      <h1>{title}</h1>
      <label>
        Kept <input value={text} disabled={!alive} onChange={(event) => setText(event.target.value)} />
      </label>
    </main>
  );
}
