// What /proc says about the processes of one data folder. Linux alone.
import fs from 'node:fs';

export interface Process {
  pid: number;
  command: string;
}

/** Every process that belongs to a data folder: names it, works in it, holds a file of it open, or lives in a sandbox made from it. */
export function processesOf(dataDir: string): Process[] {
  const found: Process[] = [];
  for (const pid of pids()) {
    if (pid === process.pid) continue;
    const command = read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim();
    if (command === '') continue;
    const place = link(`/proc/${pid}/cwd`);
    // Inside a sandbox neither arguments nor cwd name the folder, but its mounts come from there.
    const inside = () => read(`/proc/${pid}/mountinfo`).includes(`${dataDir}/`) && !sameMounts(pid);
    // A keeper names nothing either, but writes its log there.
    const holds = () => /keeper|bwrap|sandbox-agent|fullstack-agent|postgres/.test(command) && descriptors(pid).some((place) => place.startsWith(`${dataDir}/`));
    if (command.includes(dataDir) || place.startsWith(dataDir) || holds() || inside()) found.push({ pid, command });
  }
  return found;
}

/** Those of [`processesOf`] that live in a sandbox or keep one. */
export function sandboxProcessesOf(dataDir: string): Process[] {
  return processesOf(dataDir).filter(({ pid, command }) => /sandbox-agent|bwrap|\bkeeper\b/.test(command) || !sameMounts(pid));
}

function sameMounts(pid: number): boolean {
  return link(`/proc/${pid}/ns/mnt`) === link('/proc/self/ns/mnt');
}

/** CPU used so far by a process, in seconds. */
export function cpuSeconds(pid: number): number {
  const stat = read(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Resident memory in bytes; 0 where the process is gone. */
export function residentBytes(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB/m.exec(read(`/proc/${pid}/status`));
  return line ? Number(line[1]) * 1024 : 0;
}

/** The most memory that a process ever held, in bytes. */
export function peakBytes(pid: number): number {
  const line = /^VmHWM:\s+(\d+) kB/m.exec(read(`/proc/${pid}/status`));
  return line ? Number(line[1]) * 1024 : 0;
}

export function pids(): number[] {
  return fs
    .readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

export function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // A zombie takes signals too.
    return !/^State:\s+Z/m.test(read(`/proc/${pid}/status`));
  } catch {
    return false;
  }
}

function read(path: string): string {
  try {
    return fs.readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** What a process holds open, by path. */
function descriptors(pid: number): string[] {
  try {
    return fs.readdirSync(`/proc/${pid}/fd`).map((fd) => link(`/proc/${pid}/fd/${fd}`));
  } catch {
    return [];
  }
}

function link(path: string): string {
  try {
    return fs.readlinkSync(path);
  } catch {
    return '';
  }
}
