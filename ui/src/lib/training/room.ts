import type { FindingItem } from '../ipc/bindings/FindingItem';

/** Whether a finding says that the computer has too little memory or disk, which no character mends. */
export function isAboutRoom(finding: FindingItem): boolean {
  return ['memory', 'memory-now', 'disk'].includes(finding.code);
}
