/** Approval of the newest picture of every expression. */
import type { ExpressionSheetItem } from '../ipc/bindings/ExpressionSheetItem';
import type { Client } from '../ipc/client';

/** A picture to be approved, and the one of the same expression that is approved before it. */
export type Choice = { now: string; before: string | null };

/** The newest pictures that are not approved. */
export function unapproved(sheet: ExpressionSheetItem[]): Choice[] {
  return sheet.flatMap(({ pictures }) => {
    const newest = pictures[0];
    const before = pictures.find((picture) => picture.isApproved)?.id ?? null;
    return newest && newest.id !== before ? [{ now: newest.id, before }] : [];
  });
}

/** Approves what was chosen; the answer takes that back. When one fails, all is as it was. */
export async function approveEach(
  client: Pick<Client, 'approvePicture'>,
  choices: Choice[],
): Promise<() => Promise<void>> {
  const done: Choice[] = [];
  const undo = async () => {
    // Of an expression one picture is approved: approving the earlier one leaves the later one out.
    for (const { now, before } of done) await client.approvePicture(before ?? now, before !== null);
  };
  try {
    for (const choice of choices) {
      await client.approvePicture(choice.now, true);
      done.push(choice);
    }
  } catch (error) {
    await undo();
    throw error;
  }
  return undo;
}
