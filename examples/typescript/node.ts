// Says hello, end-to-end encrypted, and prints the answer: TOKEN=… node node.js URL USER PEER
import { Client } from '@rookery-chat/client'
import { FileJournal } from '@rookery-chat/client/node'
import WebSocket from 'ws'

const [url, user, peer] = process.argv.slice(2) as [string, string, string]
const token = () => process.env.TOKEN!
const client = await Client.connect({ url, user, device: 'node', token, WebSocket, journal: new FileJournal(`${user}.journal`), keyFile: `${user}.keys` })
await client.send(peer, 'hello from Node')
for await (const event of client) {
  if (event.type !== 'message') continue
  console.log(`${event.message.from}: ${new TextDecoder().decode(event.message.content!)}`)
  client.handled()
  break
}
await client.close()
