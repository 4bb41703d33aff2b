package admin

import "github.com/rookery-chat/rookery/internal/media"

// Media are the metrics of pictures and files.
func Media(stats *media.Stats) Metrics {
	type s = *media.Stats
	return collector(func() s { return stats }, []row[s]{
		count("rookery_media_uploads_total", "Uploads begun.", func(s s) uint64 { return s.Uploads.Load() }),
		count("rookery_media_completed_total", "Uploads that became a blob.", func(s s) uint64 { return s.Completed.Load() }),
		count("rookery_media_downloads_total", "Download URLs given.", func(s s) uint64 { return s.Downloads.Load() }),
		count("rookery_media_over_quota_total", "Uploads refused because their user has too many bytes.", func(s s) uint64 { return s.OverQuota.Load() }),
		count("rookery_media_store_errors_total", "Calls of the media store that failed.", func(s s) uint64 { return s.Failed.Load() }),
		count("rookery_media_swept_total", "Blobs whose time was over, and uploads given up, that were removed.", func(s s) uint64 { return s.Swept.Load() }),
	})
}
