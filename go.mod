module github.com/rookery-chat/rookery

go 1.26
