/** What stands between a character and being taught, and where to mend it. */
import type { FindingItem } from '../ipc/bindings/FindingItem';
import type { SceneItem } from '../ipc/bindings/SceneItem';

export type Tab = 'persona' | 'voice' | 'looks' | 'pictures' | 'dialogue' | 'checks' | 'versions';
/** `go` shows a tab; the others mend at once, with a way back. */
export type Fix = { tab: Tab; act: 'go' | 'addPictures' | 'nameCaptions' | 'dropLostPictures' };

const fixes: Record<string, Fix> = {
  'nothing-to-learn': { tab: 'pictures', act: 'addPictures' },
  'few-pictures': { tab: 'pictures', act: 'addPictures' },
  'no-dialogue': { tab: 'dialogue', act: 'go' },
  'little-dialogue': { tab: 'dialogue', act: 'go' },
  'no-persona': { tab: 'persona', act: 'go' },
  'long-persona': { tab: 'persona', act: 'go' },
  'no-caption': { tab: 'pictures', act: 'go' },
  'nameless-caption': { tab: 'pictures', act: 'nameCaptions' },
  'lost-picture': { tab: 'dialogue', act: 'dropLostPictures' },
};

export function fixOf(finding: FindingItem): Fix | null {
  return fixes[finding.code] ?? null;
}

export type Readiness = 'ready' | 'better' | 'blocked';

/** `blocked` cannot be taught, `better` can but should not yet. Notes do not count. */
export function readiness(findings: FindingItem[]): Readiness {
  if (findings.some((f) => f.severity === 'error')) return 'blocked';
  return findings.some((f) => f.severity === 'warning') ? 'better' : 'ready';
}

/** Scenes without links to pictures that are not there; null when there is none. */
export function withoutLostPictures(scenes: SceneItem[], pictureIds: string[]): SceneItem[] | null {
  const there = new Set(pictureIds);
  let count = 0;
  const mended = scenes.map((scene) => ({
    ...scene,
    turns: scene.turns.map((turn) => {
      if (turn.pictureId === null || there.has(turn.pictureId)) return turn;
      count += 1;
      return { ...turn, pictureId: null };
    }),
  }));
  return count > 0 ? mended : null;
}
