// Registers one pair of scans. In the manner of an nf-core module. UNTESTED: Nextflow was not to be had where Ldr is tested.
process LDR_REGISTER {
    tag "$meta.id"
    label 'process_low'

    // Neither a Conda package nor a container exists: `ldr-fs` must be on the PATH of every node.

    input:
    tuple val(meta), path(fixed), path(moving), path(labels)

    output:
    tuple val(meta), path("*_moved.nii.gz")    , emit: moved
    tuple val(meta), path("*_transform.h5")    , emit: transform
    tuple val(meta), path("*_inverse.h5")      , emit: inverse
    tuple val(meta), path("*_labels.nii.gz")   , emit: labels, optional: true
    tuple val(meta), path("*_result.json")     , emit: result
    tuple val(meta), path("*_report.html")     , emit: report
    path "versions.yml"                        , emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def prefix = task.ext.prefix ?: "${meta.id}"
    def carried = labels ? "--labels ${labels} --moved-labels ${prefix}_labels.nii.gz" : ''
    """
    # Exit code 3: registered, and the verdict is "failed"; it stands in the result.
    ldr-fs register \\
        --fixed ${fixed} \\
        --moving ${moving} \\
        --moved ${prefix}_moved.nii.gz \\
        --transform ${prefix}_transform.h5 \\
        --inverse-transform ${prefix}_inverse.h5 \\
        --report ${prefix}_report.html \\
        --threads ${task.cpus} \\
        --json \\
        ${carried} \\
        ${args} > ${prefix}_result.json || [ \$? -eq 3 ]

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        ldr-fs: \$(ldr-fs --version)
    END_VERSIONS
    """

    stub:
    def prefix = task.ext.prefix ?: "${meta.id}"
    """
    touch ${prefix}_moved.nii.gz ${prefix}_transform.h5 ${prefix}_inverse.h5 ${prefix}_result.json ${prefix}_report.html

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        ldr-fs: 0.1.0
    END_VERSIONS
    """
}
