-- What has been applied to this database. The file's checksum is kept, so that a file edited afterwards is refused.

CREATE TABLE IF NOT EXISTS schema_migrations
(
    version    UInt32                 COMMENT '迁移编号 | number of the migration: the digits its file name begins with',
    name       String                 COMMENT '文件名 | file name',
    checksum   String                 COMMENT '文件内容的 SHA-256 | SHA-256 of the file when it was applied',
    applied_at DateTime64(3, 'UTC')   COMMENT '执行时间 | when it was applied, by the clock of the program that did it'
)
ENGINE = ReplacingMergeTree
ORDER BY version
COMMENT '已执行的数据库迁移 | migrations that have been applied';
