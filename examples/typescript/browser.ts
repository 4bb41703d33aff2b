// Says hello, end-to-end encrypted, and shows what is answered. The address of the page ends with #URL,USER,PEER,TOKEN
import { Client } from '@rookery-chat/client'

const [url, user, peer, token] = location.hash.slice(1).split(',') as [string, string, string, string]
const client = await Client.connect({ url, user, device: 'page', token: () => token, wasm: 'e2ee.wasm' })
await client.send(peer, 'hello from a page')
for await (const event of client) {
  if (event.type === 'message') document.querySelector('p')!.append(`${event.message.from}: ${new TextDecoder().decode(event.message.content!)}\n`)
}
