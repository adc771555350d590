#!/usr/bin/env node
// Prisma's schema engine, which `prisma db push` starts where PRISMA_SCHEMA_ENGINE_BINARY names this file: compiled to
// WebAssembly, as npm has it, in place of the native program that Prisma fetches from a host of its own. Prisma asks by arguments
// whether the database answers, and then, as JSON-RPC, one line of standard input for each request, for what is to be done.
import { PrismaPg } from '@prisma/adapter-pg';
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils';
import * as glue from '@prisma/schema-engine-wasm/schema_engine_bg';
import fs from 'node:fs';
import readline from 'node:readline';
import { parseArgs } from 'node:util';
import pg from 'pg';

// PostgreSQL's catalogs have columns of the type "char", one byte of text, which the engine reads and the adapter does not know.
const [CHAR, TEXT] = [18, 25];
const { handleRowDescription } = pg.Query.prototype;
pg.Query.prototype.handleRowDescription = function (message) {
  for (const field of message.fields) if (field.dataTypeID === CHAR) field.dataTypeID = TEXT;
  handleRowDescription.call(this, message);
};

/** Answers until there are no more requests. */
async function serve() {
  const { values, positionals } = parseArgs({
    options: { datamodels: { type: 'string', multiple: true }, datasource: { type: 'string' } },
    allowPositionals: true,
  });
  const { url } = JSON.parse(values.datasource);
  const code = fs.readFileSync(new URL('node_modules/@prisma/schema-engine-wasm/schema_engine_bg.wasm', import.meta.url));
  const { exports } = (await WebAssembly.instantiate(code, { './schema_engine_bg.js': glue })).instance;
  glue.__wbg_set_wasm(exports);
  exports.__wbindgen_start();
  const datamodels = values.datamodels?.map((file) => [file, fs.readFileSync(file, 'utf8')]);
  const adapter = bindMigrationAwareSqlAdapterFactory(new PrismaPg({ connectionString: url }));
  const engine = await glue.SchemaEngine.new({ datamodels }, () => {}, adapter);

  if (positionals.length > 0) {
    if (positionals.join(' ') !== 'cli can-connect-to-database') throw new Error(`${positionals.join(' ')}: nobody answers that here`);
    await engine.ensureConnectionValidity({ datasource: { tag: 'ConnectionString', url } });
    return;
  }
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { id, method, params } = JSON.parse(line);
    const answer = await engine[method](params).then(
      (result) => ({ result }),
      ({ message }) => ({ error: { code: -32000, message, data: { message } } }),
    );
    console.log(JSON.stringify({ jsonrpc: '2.0', id, ...answer }));
  }
}

try {
  await serve();
  process.exit(0);
} catch ({ message }) {
  // Prisma reads the engine's log, from its second line on.
  console.error(`\n${JSON.stringify({ level: 'ERROR', fields: { message } })}`);
  process.exit(1);
}
