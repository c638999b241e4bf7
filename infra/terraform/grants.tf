# Permissions on buckets. A manifest is committed by creating an object that must not exist, so most writers only need to create
# objects. Updating a pointer or deleting old rollouts needs objectUser, restricted to these names. A condition can only use the name
# of an object, and listing has no object name. Listing is therefore granted with legacyBucketReader on the bucket.
locals {
  objects = { for name, bucket in google_storage_bucket.buckets : name => "projects/_/buckets/${bucket.name}/objects" }

  below_runs = "resource.name.startsWith(\"${local.objects.runs}/runs/\")"
  champions = join(" || ", [
    "resource.name.startsWith(\"${local.objects.runs}/runs/.registry/\")",
    "(${local.below_runs} && resource.name.endsWith(\"/champion.json\"))",
  ])

  grants = {
    # Reads models and prompts; commits rollouts, policies and reports; updates latest.json; deletes old epochs.
    trainer = [
      { bucket = "inputs", role = "objectViewer", title = null, condition = null },
      { bucket = "runs", role = "legacyBucketReader", title = null, condition = null },
      { bucket = "runs", role = "objectUser", title = "run directories", condition = local.below_runs },
      { bucket = "pipelines", role = "objectUser", title = null, condition = null },
    ]
    # Cannot overwrite or delete committed objects.
    sampler = [
      { bucket = "inputs", role = "objectViewer", title = null, condition = null },
      { bucket = "runs", role = "legacyBucketReader", title = null, condition = null },
      { bucket = "runs", role = "objectViewer", title = "read run directories", condition = local.below_runs },
      { bucket = "runs", role = "objectCreator", title = "commit to run directories", condition = local.below_runs },
      { bucket = "pipelines", role = "objectUser", title = null, condition = null },
    ]
    # Can also update the pointers of the champion.
    evaluator = [
      { bucket = "inputs", role = "objectViewer", title = null, condition = null },
      { bucket = "runs", role = "legacyBucketReader", title = null, condition = null },
      { bucket = "runs", role = "objectViewer", title = "read run directories", condition = local.below_runs },
      { bucket = "runs", role = "objectCreator", title = "commit to run directories", condition = local.below_runs },
      { bucket = "runs", role = "objectUser", title = "champions", condition = local.champions },
      { bucket = "pipelines", role = "objectUser", title = null, condition = null },
    ]
    mlflow = [
      { bucket = "mlflow", role = "legacyBucketReader", title = null, condition = null },
      { bucket = "mlflow", role = "objectUser", title = null, condition = null },
    ]
    viewer = [
      { bucket = "pipelines", role = "objectViewer", title = null, condition = null },
    ]
  }

  flat_grants = merge([
    for account, grants in local.grants : {
      for grant in grants : "${account} ${grant.role} ${grant.bucket}${grant.title == null ? "" : " ${grant.title}"}" =>
      merge(grant, { account = account })
    }
  ]...)
}

resource "google_storage_bucket_iam_member" "grants" {
  for_each = local.flat_grants
  bucket   = google_storage_bucket.buckets[each.value.bucket].name
  role     = "roles/storage.${each.value.role}"
  member   = google_service_account.roles[each.value.account].member

  dynamic "condition" {
    for_each = each.value.condition == null ? [] : [each.value.condition]
    content {
      title      = each.value.title
      expression = condition.value
    }
  }
}
