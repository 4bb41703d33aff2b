package server

import (
	"context"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/shard"
	"github.com/rookery-chat/rookery/storage"
)

// ownersHere are the gateway's owners where all of them are in this process.
type ownersHere struct{ *shard.Shards }

func (o ownersHere) Applied(_ context.Context, partition int) (chat.Position, error) {
	return o.Shards.Applied(partition), nil
}

// ownersElsewhere are the owners where they are in any process: how far they
// are is in the store, which they write before they send hints.
type ownersElsewhere struct {
	*shard.Ring
	store storage.Store
}

func (o ownersElsewhere) Applied(ctx context.Context, partition int) (chat.Position, error) {
	return o.store.Applied(ctx, partition)
}
