//go:build !js

package e2ee

import (
	"context"
	"slices"

	"github.com/rookery-chat/rookery/chat"
)

// changeRows is how many messages of a group's history are looked through for the
// changes that made somebody a member.
const changeRows = 1000

// catchUp is for a client that takes no messages (client.Options.SendOnly) and
// whose device knows a group by its chat, from other runs: members whom it was not
// shown yet would be left out. The changes are taken from the group's history,
// which shows everybody the same as the chat. They come again when the device
// takes messages.
func (c *Client) catchUp(ctx context.Context, group string) error {
	if err := c.lookGroup(ctx, c.opt.Refresh, group); err != nil {
		return err
	}
	c.mu.Lock()
	r, err := c.roster(group)
	var first chat.Position // of the changes that are missing
	if err == nil && r != nil {
		for _, since := range r.odd {
			if first == 0 || since < first {
				first = since
			}
		}
	}
	c.mu.Unlock()
	if err != nil || first == 0 {
		return err
	}
	var changes []chat.Message
	for before, rows := (chat.ID{}), 0; rows < changeRows; {
		page, err := c.Client.History(ctx, group, before, 0)
		if err != nil {
			return err
		}
		there := false
		for _, m := range page.Messages {
			if m.Suite == chat.SuiteGroup {
				changes = append(changes, m)
			}
			there = there || m.Place <= first
		}
		rows, before = rows+len(page.Messages), page.Next
		if there || !page.More {
			break
		}
	}
	for _, m := range slices.Backward(changes) {
		if err := c.takeGroup(ctx, &m); err != nil {
			return err
		}
	}
	return nil
}
