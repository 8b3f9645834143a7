// Opening another tab for something that is known only later: browsers open one only while a person presses something.

import { words } from "../words/app";

/** Opens what is found, in a tab that knows nothing of this one. */
export async function openLater(find: () => Promise<string>): Promise<void> {
  const tab = open("about:blank", "_blank");
  if (tab === null) throw new Error(words.blocked);
  tab.opener = null;
  try {
    tab.location.replace(await find());
  } catch (error) {
    tab.close();
    throw error;
  }
}
