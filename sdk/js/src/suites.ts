/** A message's content is as the app gave it. */
export const suitePlain = 0
/** It is encrypted, by a session whose key came before. */
export const suiteMegolm = 1
/** It is keys of sessions, and nothing to show. */
export const suiteKeyShare = 2
/** It is a change of a group, which the server reads, too. */
export const suiteGroup = 3
