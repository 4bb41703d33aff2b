import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { include: ['bench/crypto.ts'], testTimeout: 240_000, silent: false } })
