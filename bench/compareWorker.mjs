// Plain JavaScript: Node 20 does not hand the loader on to threads.
import { compareSync } from 'bcryptjs';

export function compare({ password, hash }) {
  return compareSync(password, hash);
}
