/**
 * What only Node has: a journal in a file. On Node 20, which has no global WebSocket, give that of the package `ws` to the
 * client as `WebSocket`.
 *
 * @packageDocumentation
 */
export { FileJournal } from './file-journal.ts'
