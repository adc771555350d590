// An ingress controller: Debian's nginx, configured from the Ingress objects of the cluster as ingress-nginx does it
// (its `nginx.tmpl` is the model; what an annotation means is in its documentation).
//
// What is not known here is refused: an annotation that the product sets and nobody heeds would be tested by nobody.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { kubectl } from './cluster.ts';
import { exited } from './server.ts';
import { until } from './until.ts';

interface Ingress {
  metadata: { name: string; annotations?: Record<string, string> };
  spec: {
    rules: { host: string; http: { paths: { path: string; pathType: string; backend: { service: { name: string; port: { number: number } } } }[] } }[];
    tls?: { hosts: string[]; secretName: string }[];
  };
}

const PREFIX = 'nginx.ingress.kubernetes.io/';
const MODULES = '/usr/lib/nginx/modules';

/** What is missing here for it; `undefined` where nothing is. */
export function lackOfNginx(): string | undefined {
  for (const file of ['/usr/sbin/nginx', `${MODULES}/ngx_http_set_misc_module.so`]) {
    if (!fs.existsSync(file)) return `${file} is missing: Debian's nginx-light and libnginx-mod-http-set-misc have it`;
  }
  return undefined;
}

/** nginx at the ports 80 and 443 of the network that the tests run in. */
export class Nginx {
  readonly folder: string;
  readonly #child: ChildProcess;

  private constructor(folder: string, child: ChildProcess) {
    this.folder = folder;
    this.#child = child;
  }

  /** Starts it with the Ingresses that an installation has now. */
  static async start(installation: string): Promise<Nginx> {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'fsa-nginx-'));
    fs.writeFileSync(path.join(folder, 'nginx.conf'), configuration(installation, folder));
    const child = spawn('/usr/sbin/nginx', ['-p', folder, '-c', path.join(folder, 'nginx.conf')], { stdio: ['ignore', 'inherit', 'inherit'] });
    const nginx = new Nginx(folder, child);
    await until('nginx to listen', async () => {
      if (child.exitCode !== null) throw new Error(`nginx ended with ${child.exitCode}: ${nginx.log}`);
      return await new Promise<boolean>((resolve) => {
        const socket = net.connect(80, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false));
        socket.on('connect', () => socket.destroy());
      });
    });
    return nginx;
  }

  /** What it complained of. */
  get log(): string {
    return fs.readFileSync(path.join(this.folder, 'error.log'), 'utf8');
  }

  async stop(): Promise<void> {
    const gone = exited(this.#child);
    this.#child.kill('SIGTERM');
    await gone;
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Makes a certificate for all names below a domain, as a Secret that Ingresses name. */
export function makeCertificate(domain: string, secret: string): void {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'fsa-certificate-'));
  const [key, certificate] = [path.join(folder, 'tls.key'), path.join(folder, 'tls.crt')];
  const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-keyout', key, '-out', certificate];
  execFileSync('openssl', [...made, '-subj', `/CN=*.${domain}`, '-addext', `subjectAltName=DNS:*.${domain}`], { stdio: 'ignore' });
  kubectl('delete', 'secret', secret, '--ignore-not-found');
  kubectl('create', 'secret', 'tls', secret, `--cert=${certificate}`, `--key=${key}`);
  fs.rmSync(folder, { recursive: true });
}

function configuration(installation: string, folder: string): string {
  const selector = `fullstackagent.io/installation=${installation}`;
  const ingresses = JSON.parse(kubectl('get', 'ingresses.networking.k8s.io', '-l', selector, '-o', 'json')).items as Ingress[];
  if (ingresses.length === 0) throw new Error('there are no Ingresses');
  return `
daemon off;
worker_processes 1;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log warn;
load_module ${MODULES}/ndk_http_module.so;
load_module ${MODULES}/ngx_http_set_misc_module.so;
events { worker_connections 512; }
http {
  access_log off;
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
  server_names_hash_bucket_size 256;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  server { listen 80 default_server; listen [::]:80 default_server; return 404; }
${ingresses.flatMap((ingress) => ingress.spec.rules.map((rule) => host(ingress, rule, folder))).join('\n')}
}
`;
}

function host(ingress: Ingress, rule: Ingress['spec']['rules'][number], folder: string): string {
  const known = new Map(Object.entries(ingress.metadata.annotations ?? {}).filter(([key]) => key.startsWith(PREFIX)));
  const take = (name: string): string | undefined => {
    const value = known.get(PREFIX + name);
    known.delete(PREFIX + name);
    return value;
  };
  const tls = ingress.spec.tls?.find(({ hosts }) => hosts.includes(rule.host));
  const { path: prefix, pathType, backend } = rule.http.paths[0]!;
  if (rule.http.paths.length !== 1 || pathType !== 'Prefix' || prefix !== '/') throw new Error(`${ingress.metadata.name}: no paths but / are known here`);
  const service = JSON.parse(kubectl('get', 'service', backend.service.name, '-o', 'json'));
  if (!service.spec.ports.some(({ port }: { port: number }) => port === backend.service.port.number)) throw new Error(`the Service has no port ${backend.service.port.number}`);

  const lines: string[] = [];
  const body = take('proxy-body-size');
  if (body !== undefined) lines.push(`client_max_body_size ${body};`);
  for (const [name, directive] of [['proxy-read-timeout', 'proxy_read_timeout'], ['proxy-send-timeout', 'proxy_send_timeout']] as const) {
    lines.push(`${directive} ${take(name) ?? '60'}s;`);
  }
  if ((take('backend-protocol') ?? 'HTTP') !== 'HTTP') throw new Error('no backends but of HTTP are known here');
  const redirects = (take('ssl-redirect') ?? 'true') === 'true' && tls !== undefined;

  const authUrl = take('auth-url');
  const signIn = take('auth-signin');
  const always = take('auth-always-set-cookie') === 'true' ? ' always' : '';
  const answered = (take('auth-response-headers') ?? '').split(',').map((name) => name.trim()).filter((name) => name !== '');
  let auth = '';
  if (authUrl !== undefined) {
    lines.push('auth_request /_external-auth;', 'auth_request_set $auth_cookie $upstream_http_set_cookie;', `add_header Set-Cookie $auth_cookie${always};`);
    answered.forEach((name, index) => {
      lines.push(`auth_request_set $authHeader${index} $upstream_http_${name.toLowerCase().replaceAll('-', '_')};`, `proxy_set_header '${name}' $authHeader${index};`);
    });
    auth = `
    location = /_external-auth {
      internal;
      proxy_pass_request_body off;
      proxy_set_header Content-Length '';
      proxy_set_header X-Forwarded-Proto '';
      proxy_set_header X-Request-ID $request_id;
      proxy_set_header Host ${new URL(authUrl).host};
      proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
      proxy_set_header X-Original-Method $request_method;
      proxy_set_header X-Sent-From 'nginx-ingress-controller';
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Auth-Request-Redirect $request_uri;
      proxy_pass_request_headers on;
      proxy_http_version 1.1;
      client_max_body_size 1m;
      proxy_pass ${authUrl};
    }`;
    if (signIn !== undefined) {
      const sign = signIn.includes('?') ? '&' : '?';
      lines.push('set_escape_uri $escaped_request_uri $request_uri;', 'error_page 401 = @sign-in;');
      auth += `
    location @sign-in {
      internal;
      add_header Set-Cookie $auth_cookie;
      return 302 ${signIn}${sign}rd=$scheme://$http_host$escaped_request_uri;
    }`;
    }
  }
  if (known.size > 0) throw new Error(`${ingress.metadata.name}: annotations that nothing heeds here: ${[...known.keys()].join(', ')}`);

  const listen: string[] = [];
  if (tls) {
    const secret = JSON.parse(kubectl('get', 'secret', tls.secretName, '-o', 'json'));
    for (const name of ['tls.crt', 'tls.key']) {
      fs.writeFileSync(path.join(folder, `${rule.host}.${name}`), Buffer.from(secret.data[name], 'base64'), { mode: 0o600 });
    }
    listen.push('listen 443 ssl;', 'listen [::]:443 ssl;', `ssl_certificate ${folder}/${rule.host}.tls.crt;`, `ssl_certificate_key ${folder}/${rule.host}.tls.key;`);
  }
  if (!redirects) listen.push('listen 80;', 'listen [::]:80;');
  const plain = redirects ? `  server { listen 80; listen [::]:80; server_name ${rule.host}; return 308 https://$host$request_uri; }\n` : '';
  return `${plain}  server {
    server_name ${rule.host};
    ${listen.join(' ')}
    location / {
      ${lines.join('\n      ')}
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Request-ID $request_id;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Port $server_port;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Scheme $scheme;
      proxy_set_header X-Original-Forwarded-For $http_x_forwarded_for;
      proxy_set_header Proxy '';
      proxy_http_version 1.1;
      proxy_buffering off;
      proxy_pass http://${service.spec.clusterIP}:${backend.service.port.number};
    }${auth}
  }`;
}
