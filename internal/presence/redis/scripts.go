package redis

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
)

// What the server holds, after the prefix:
//
//	g:<gateway>       "epoch address", which ends with the lease
//	gateways          the set of names that hold or held a lease
//	follow            a hash: gateway → epoch in which it said that it goes on in
//	                  the next epoch of the log by itself
//	u:{bucket}<user>  a hash: node of the device → "session epoch gateway"
//	p:{bucket}<user>  the sharded channel: "1" came, "0 <seen>" went
//
// A user's hash and channel share a slot of a cluster, so one script changes
// and tells. Whether an entry counts is for the reader to judge by the lease,
// as that lies in another slot.

// buckets is how many slots of a cluster the users are spread over, and how
// many connections a process there has at most for what it watches.
const buckets = 64

func bucket(user chat.User) int {
	h := fnv.New32a()
	h.Write([]byte(user))
	return int(h.Sum32() % buckets)
}

type keys struct{ prefix string }

func (k keys) lease(gateway string) string { return k.prefix + "g:" + gateway }
func (k keys) gateways() string            { return k.prefix + "gateways" }
func (k keys) follow() string              { return k.prefix + "follow" }
func (k keys) user(u chat.User) string     { return k.tagged("u", u) }
func (k keys) channel(u chat.User) string  { return k.tagged("p", u) }

func (k keys) tagged(kind string, u chat.User) string {
	return k.prefix + kind + ":{" + strconv.Itoa(bucket(u)) + "}" + string(u)
}

// watched is the user of a channel.
func (k keys) watched(channel string) (chat.User, bool) {
	_, user, ok := strings.Cut(channel[min(len(k.prefix), len(channel)):], "}")
	return chat.User(user), ok
}

// numberDigits is the width of numbers in an entry: scripts compare them as
// strings, for they have no whole numbers above 2^53.
const numberDigits = 20

func number(n uint64) string { return fmt.Sprintf("%0*d", numberDigits, n) }

func field(n chat.Node) string { return hex.EncodeToString(n[:]) }

// entry is where one session is, without the gateway's address.
type entry struct {
	session, epoch uint64
	gateway        string
}

func (e entry) String() string { return number(e.session) + " " + number(e.epoch) + " " + e.gateway }

func parseEntry(s string) (e entry, err error) {
	part := strings.SplitN(s, " ", 3)
	if len(part) != 3 {
		return e, fmt.Errorf("an entry that is none: %q", s)
	}
	e.gateway = part[2]
	if e.session, err = strconv.ParseUint(part[0], 10, 64); err != nil {
		return e, err
	}
	e.epoch, err = strconv.ParseUint(part[1], 10, 64)
	return e, err
}

// parseLease reads the value of a lease.
func parseLease(id, s string) (presence.Gateway, error) {
	epoch, address, ok := strings.Cut(s, " ")
	n, err := strconv.ParseUint(epoch, 10, 64)
	if !ok || err != nil {
		return presence.Gateway{}, errors.New("a lease that is none: " + strconv.Quote(s))
	}
	return presence.Gateway{ID: id, Epoch: n, Address: address}, nil
}

// takeScript takes a lease and returns its epoch, or "" when somebody has it
// and it is not to be taken by force. An epoch is the server's time in
// microseconds, and above those that are known.
var takeScript = rueidis.NewLuaScript(`
local address, px, known, force = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local held = redis.call('GET', KEYS[1])
if held and force == '0' then return '' end
local t = redis.call('TIME')
local epoch = tonumber(t[1]) * 1000000 + tonumber(t[2])
epoch = math.max(epoch, tonumber(known) + 1)
if held then epoch = math.max(epoch, tonumber(string.match(held, '^%d+')) + 1) end
local e = string.format('%.0f', epoch)
redis.call('SET', KEYS[1], e .. ' ' .. address, 'PX', px)
return e`)

// renewScript renews a lease that is still ours.
var renewScript = rueidis.NewLuaScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return '0' end
return tostring(redis.call('PEXPIRE', KEYS[1], ARGV[2]))`)

// releaseScript gives it back.
var releaseScript = rueidis.NewLuaScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return '0' end
return tostring(redis.call('DEL', KEYS[1]))`)

// registerScript enters a session unless a newer one of the device is there,
// and returns whether it did, what was there, and the other devices' entries.
// Of one gateway's entries the later epoch is the newer, whatever order they
// come in. The entry in dead counts for nothing.
var registerScript = rueidis.NewLuaScript(`
local node, new, dead, keep = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local old = redis.call('HGET', KEYS[1], node)
if old and old ~= dead then
  local newer
  if string.sub(old, 43) == string.sub(new, 43) then
    newer = string.sub(old, 1, 41) > string.sub(new, 1, 41)
  else
    newer = string.sub(old, 1, 20) >= string.sub(new, 1, 20)
  end
  if newer then return {'0', old} end
end
redis.call('HSET', KEYS[1], node, new)
redis.call('PEXPIRE', KEYS[1], keep)
redis.call('SPUBLISH', KEYS[2], '1')
local out, all = {'1', old or ''}, redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if all[i] ~= node then out[#out+1] = all[i+1] end
end
return out`)

// unregisterScript removes a session, or an older one of its device at its
// gateway, which has ended too. It returns whether it did and what is left.
var unregisterScript = rueidis.NewLuaScript(`
local node, session, gateway, went = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local old = redis.call('HGET', KEYS[1], node)
if not old or string.sub(old, 1, 20) > session or string.sub(old, 43) ~= gateway then return {'0'} end
redis.call('HDEL', KEYS[1], node)
local out = redis.call('HVALS', KEYS[1])
if #out == 0 then redis.call('SPUBLISH', KEYS[2], went) end
table.insert(out, 1, '1')
return out`)

// cleanScript removes entries that are still exactly those given, and returns
// how many it removed and how many are left.
var cleanScript = rueidis.NewLuaScript(`
local went, dead, n = ARGV[1], {}, 0
for i = 2, #ARGV do dead[ARGV[i]] = true end
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if dead[all[i+1]] then n = n + redis.call('HDEL', KEYS[1], all[i]) end
end
local left = redis.call('HLEN', KEYS[1])
if n > 0 and left == 0 then redis.call('SPUBLISH', KEYS[2], went) end
return {n, left}`)
