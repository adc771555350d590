// Findings of the doctor, as the server sends them: one object a line.

export type Verdict = 'ok' | 'warn' | 'fail';

export interface Finding {
  check: string;
  verdict: Verdict;
  what: string;
  why: string;
  mend: string[];
  detail?: string;
}

const VERDICTS: readonly string[] = ['ok', 'warn', 'fail'];

/** Whole lines, from pieces of any size. What is no finding is left out. */
export class FindingReader {
  #rest = '';

  take(piece: string): Finding[] {
    const parts = (this.#rest + piece).split('\n');
    this.#rest = parts.pop() ?? '';
    return parts.flatMap((part) => {
      try {
        const { check, verdict, what, why, mend, detail } = JSON.parse(part);
        if (typeof check !== 'string' || typeof what !== 'string' || !VERDICTS.includes(verdict)) return [];
        const finding: Finding = { check, verdict, what, why: String(why ?? ''), mend: Array.isArray(mend) ? mend.map(String) : [] };
        if (typeof detail === 'string') finding.detail = detail;
        return [finding];
      } catch {
        return [];
      }
    });
  }
}

/** What is asked for, from the page's own question: one project, or none; and whether pods are started. */
export function question(page: string, probes: boolean): string {
  const project = new URLSearchParams(page).get('project');
  const asked = new URLSearchParams([...(project === null ? [] : [['project', project]]), ...(probes ? [['probes', 'true']] : [])]);
  return asked.size === 0 ? '' : `?${asked}`;
}

/** "12 checks: 1 failed, 2 to look at". */
export function summary(findings: readonly Finding[]): string {
  const count = (verdict: Verdict) => findings.filter((finding) => finding.verdict === verdict).length;
  const [failed, warned] = [count('fail'), count('warn')];
  const all = findings.length === 1 ? '1 check' : `${findings.length} checks`;
  if (failed + warned === 0) return `${all}: all is well`;
  const parts = [failed > 0 ? `${failed} failed` : '', warned > 0 ? `${warned} to look at` : ''];
  return `${all}: ${parts.filter((part) => part !== '').join(', ')}`;
}
