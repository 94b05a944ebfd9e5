/** Approval of the newest picture of every expression that has none approved yet. */
import type { ExpressionSheetItem } from '../ipc/bindings/ExpressionSheetItem';
import type { Client } from '../ipc/client';

/** The newest pictures of expressions without an approved one. A choice that was made stays. */
export function unapproved(sheet: ExpressionSheetItem[]): string[] {
  return sheet.flatMap(({ pictures }) => {
    const newest = pictures[0];
    return newest && !pictures.some((picture) => picture.isApproved) ? [newest.id] : [];
  });
}

/** Approves what was chosen; the answer takes that back. When one fails, all is as it was. */
export async function approveEach(
  client: Pick<Client, 'approvePicture'>,
  chosen: string[],
): Promise<() => Promise<void>> {
  const done: string[] = [];
  const undo = async () => {
    for (const id of done) await client.approvePicture(id, false);
  };
  try {
    for (const id of chosen) {
      await client.approvePicture(id, true);
      done.push(id);
    }
  } catch (error) {
    await undo();
    throw error;
  }
  return undo;
}
