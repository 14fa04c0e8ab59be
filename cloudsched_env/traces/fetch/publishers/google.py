"""Google: Borg cells of 2011 and 2019."""

from __future__ import annotations

from cloudsched_env.traces.fetch.catalogue import Dataset, ManualSource, RemoteTable
from cloudsched_env.traces.fetch.publishers.common import CC_BY_BINDING, KB, MB

__all__ = ["GOOGLE_2011", "GOOGLE_2019"]

# Sizes: 41 GB in all (ClusterData2011_2.md); means of the parts that were at hand. SHA256SUM stands in the bucket.
GOOGLE_2011 = Dataset(
    name="google2011",
    title="Google clusterdata-2011-2 (v2.1)",
    page="https://github.com/google/cluster-data/blob/master/ClusterData2011_2.md",
    folder="clusterdata-2011-2",
    licence=CC_BY_BINDING,
    # gs://clusterdata-2011-2 by its two https names.
    mirrors=(
        "https://storage.googleapis.com/clusterdata-2011-2",
        "https://commondatastorage.googleapis.com/clusterdata-2011-2",
    ),
    checksums="SHA256SUM",
    tables=(
        RemoteTable("task_events", "task_events/part-{part:05d}-of-00500.csv.gz", (0, 499), about_bytes=2 * MB),
        RemoteTable("job_events", "job_events/part-{part:05d}-of-00500.csv.gz", (0, 499), about_bytes=173 * KB),
        RemoteTable("machine_events", "machine_events/part-00000-of-00001.csv.gz", about_bytes=347 * KB),
        RemoteTable("machine_attributes", "machine_attributes/part-00000-of-00001.csv.gz", default=False),
        RemoteTable("task_constraints", "task_constraints/part-{part:05d}-of-00500.csv.gz", (0, 499), default=False),
        RemoteTable(
            "task_usage",
            "task_usage/part-{part:05d}-of-00500.csv.gz",
            (0, 499),
            default=False,
            about_bytes=80 * MB,
            note="nearly all of the trace's 41 GB",
        ),
    ),
    citation="C. Reiss, J. Wilkes, J. L. Hellerstein. Google cluster-usage traces: format + schema. Google Inc., 2011.",
)

GOOGLE_2019 = Dataset(
    name="google2019",
    title="Google clusterdata-2019 (v3), eight cells a to h",
    page="https://github.com/google/cluster-data/blob/master/ClusterData2019.md",
    folder="clusterdata-2019-a",
    licence=CC_BY_BINDING,
    manual=ManualSource(
        reason="the publisher makes it available through BigQuery only (about 2.4 TiB); a query needs an account",
        steps=(
            "read the access instructions in the document that the page links, and have a Google Cloud project with "
            "billing and a bucket of your own in the location US",
            "export each table of a cell (here a) that you need; collection_events, instance_events and machine_events "
            "are enough:\n"
            "for table in collection_events instance_events machine_events; do\n"
            "  bq --location=US extract --destination_format NEWLINE_DELIMITED_JSON --compression GZIP \\\n"
            "    google.com:google-cluster-data:clusterdata_2019_a.$table \\\n"
            "    gs://YOUR_BUCKET/clusterdata_2019_a/$table-*.json.gz\n"
            "done",
            "for a part of the month only, export the result of a query instead of whole tables (times are in "
            "microseconds, the trace begins at 600 s):\n"
            'bq --location=US query --use_legacy_sql=false "EXPORT DATA OPTIONS(uri='
            "'gs://YOUR_BUCKET/clusterdata_2019_a/instance_events-*.json.gz', format='JSON', compression='GZIP') AS "
            "SELECT * FROM \\`google.com:google-cluster-data.clusterdata_2019_a.instance_events\\` "
            'WHERE time BETWEEN 600000000 AND 87000000000"',
            "copy the files: gcloud storage cp 'gs://YOUR_BUCKET/clusterdata_2019_a/*' {folder}/\n"
            "identifiers of the eight cells are unrelated: each cell needs a folder of its own (--to)",
            "users report public copies of the tables as sharded JSON in buckets that the page does not mention; if "
            "`gcloud storage ls gs://clusterdata_2019_a/` answers, they spare you the export",
        ),
        layout=(
            "collection_events-000000000000.json.gz and so on",
            "instance_events-000000000000.json.gz and so on",
            "machine_events-000000000000.json.gz and so on",
        ),
    ),
    citation="J. Wilkes et al. Google cluster-usage traces v3. Google Inc., 2020.",
)
