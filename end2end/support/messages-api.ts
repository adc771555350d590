// A stand-in for the Messages API: answers `POST /v1/messages` with a stream, and keeps what it was asked.
import http from 'node:http';
import { nodeAddress } from './cluster.ts';
import type net from 'node:net';

export interface Asked {
  method: string;
  path: string;
  headers: http.IncomingHttpHeaders;
  body: any;
  /** The text of the last user message. */
  prompt: string;
}

/**
 * Listens on 127.0.0.1, where no sandbox reaches it but through the operator's setting; on a cluster, where
 * pods reach it.
 */
export class MessagesApi {
  readonly asked: Asked[] = [];
  readonly #server: http.Server;
  /** What is answered to a prompt. */
  answer = (prompt: string): string => (/say hi/i.test(prompt) ? 'Hi from the stand-in.' : 'Understood by the stand-in.');

  /** What the rest of every answer waits for, once its first word is sent. */
  #rest: Promise<void> = Promise.resolve();

  private constructor() {
    this.#server = http.createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => this.#serve(request, Buffer.concat(chunks).toString(), response));
    });
  }

  static async start(): Promise<MessagesApi> {
    const api = new MessagesApi();
    await new Promise<void>((resolve) => api.#server.listen(0, nodeAddress(), resolve));
    return api;
  }

  get origin(): string {
    return `http://${nodeAddress()}:${(this.#server.address() as net.AddressInfo).port}`;
  }

  /** The prompts of conversations, in order; not the questions that the program asks for itself. */
  get prompts(): string[] {
    return this.asked.filter(({ path }) => path.startsWith('/v1/messages') && !path.includes('count_tokens')).map(({ prompt }) => prompt);
  }

  /** Answers stop after their first word, until the function that this gives is called. */
  hold(): () => void {
    let goOn = () => {};
    this.#rest = new Promise((resolve) => (goOn = resolve));
    return goOn;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #serve(request: http.IncomingMessage, text: string, response: http.ServerResponse): void {
    const path = request.url ?? '/';
    let body: any;
    try {
      body = JSON.parse(text);
    } catch {
      body = undefined;
    }
    const prompt = lastPrompt(body);
    this.asked.push({ method: request.method ?? '', path, headers: request.headers, body, prompt });
    if (request.method === 'POST' && path.startsWith('/v1/messages/count_tokens')) return json(response, 200, { input_tokens: 12 });
    if (request.method === 'POST' && path.startsWith('/v1/messages')) return void this.#message(response, body, prompt);
    if (request.method === 'HEAD' || path.startsWith('/api/hello')) return json(response, 200, { message: 'hello' });
    return json(response, 404, { type: 'error', error: { type: 'not_found_error', message: `no ${path} here` } });
  }

  async #message(response: http.ServerResponse, body: any, prompt: string): Promise<void> {
    const model = body?.model ?? 'claude';
    const text = this.answer(prompt);
    const message = { id: `msg_${this.asked.length}`, type: 'message', role: 'assistant', model, stop_sequence: null };
    const usage = { input_tokens: 12, output_tokens: 8 };
    if (!body?.stream) {
      return json(response, 200, { ...message, content: [{ type: 'text', text }], stop_reason: 'end_turn', usage });
    }
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
    const send = (type: string, more: object) => response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...more })}\n\n`);
    send('message_start', { message: { ...message, content: [], stop_reason: null, usage: { ...usage, output_tokens: 1 } } });
    send('content_block_start', { index: 0, content_block: { type: 'text', text: '' } });
    for (const part of text.split(/(?<= )/)) {
      send('content_block_delta', { index: 0, delta: { type: 'text_delta', text: part } });
      await this.#rest;
    }
    send('content_block_stop', { index: 0 });
    send('message_delta', { delta: { stop_reason: 'end_turn', stop_sequence: null }, usage });
    send('message_stop', {});
    response.end();
  }
}

function json(response: http.ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

function lastPrompt(body: any): string {
  const last = body?.messages?.findLast?.((message: any) => message.role === 'user');
  if (typeof last?.content === 'string') return last.content;
  const texts = (last?.content ?? []).filter((part: any) => part.type === 'text').map((part: any) => part.text);
  return texts.at(-1) ?? '';
}
