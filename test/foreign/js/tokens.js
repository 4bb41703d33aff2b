// Prints tokens that the development key signs (docs/protocol.md, 2.2), as
// JSON: user to token. usage: node tokens.js DATA/dev-key.json USER...
import { createPrivateKey, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'

const [file, ...users] = process.argv.slice(2)
const key = JSON.parse(readFileSync(file, 'utf8'))
const seed = Buffer.from(key.private, 'base64url')
const ed25519 = Buffer.from('302e020100300506032b657004220420', 'hex') // RFC 8410: what stands before the seed
const signer = createPrivateKey({ key: Buffer.concat([ed25519, seed]), format: 'der', type: 'pkcs8' })
const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
const iat = Math.floor(Date.now() / 1000)

const token = (sub) => {
  const signed = `${part({ alg: key.alg, kid: key.kid })}.${part({ sub, iat, exp: iat + 3600 })}`
  return `${signed}.${sign(null, Buffer.from(signed), signer).toString('base64url')}`
}
console.log(JSON.stringify(Object.fromEntries(users.map((user) => [user, token(user)]))))
