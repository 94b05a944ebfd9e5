/** Drawn pictures in words. */

const ANSWER = 'Character Response: ';
/** Letters that a screen reader is made to say. */
const LONGEST = 90;

/** What a picture shows, by the telling part of its prompt: what the character answered, else its beginning. */
export function pictureWords(prompt: string): string {
  const at = prompt.indexOf(ANSWER);
  const telling = at < 0 ? prompt : prompt.slice(at + ANSWER.length);
  const line = [...(telling.trim().split('\n')[0] ?? '')];
  return line.length > LONGEST ? `${line.slice(0, LONGEST).join('').trimEnd()}…` : line.join('');
}
